.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit check format contracts bench lock manifests image clean broker database node tools drill \
	audit sbom newer

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
RIVALS := .venv-bench
# Most tests wait for real servers: four files at a time keep two processors busy. In the order of their names the slow
# ones come first and the unit tests last, so that none of the four is left with the longest.
WORKERS ?= 4
SPREAD = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
RELEASES ?= trixie forky
# The tests start hundreds of processes: each would compile everything anew where the environment has this set.
export PYTHONDONTWRITEBYTECODE =
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What the image can do beyond the core; `parquet` alone would more than double its size.
EXTRAS := alerts crm otel postgres
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install the locked dependencies; done by itself where it is needed

demo: setup broker ## Show calls travelling through, on this machine alone; KEEP=1 stays up until Ctrl-C
	@$(BIN)/aftercall demo $(if $(filter-out 0,$(KEEP)),--keep)

test: setup check broker database node tools ## Everything CI runs: the checks, then all tests, against a real RabbitMQ and newer ones
	@for release in $(RELEASES); do nice -n 19 $(BIN)/python -m tests.newer $$release --unpack; done >/dev/null 2>&1 &
	$(BIN)/python -m pytest -m alone
	$(BIN)/python -m pytest -m "not alone" $(SPREAD) $(ARGS)
	@$(MAKE) --no-print-directory --jobs --output-sync newer

newer: $(RELEASES:%=newer-%) ## What may differ, on newer Debians: Python 3.13 and 3.14, RabbitMQ 4.0 and 4.3; needs root; RELEASES=forky TESTS=tests/acceptance

newer-%: setup
	@$(BIN)/python -m tests.newer $* $(if $(TESTS),$(TESTS) -m "not alone" $(SPREAD))

test-unit: setup ## The tests that need no broker, in seconds
	$(BIN)/python -m pytest tests/unit $(ARGS)

manifests: setup ## Write what in k8s/ follows from observability/ and from the users of the broker
	@$(BIN)/python -m tests.kubernetes

drill: setup broker ## Let calls end while everything goes wrong that can, and count them; SEED=7 CALLS=300 SECONDS=60 FAULTS=a,b JSON=account.json
	@$(BIN)/python -m worker.simulate.drill --seed $(or $(SEED),1) --calls $(or $(CALLS),300) --seconds $(or $(SECONDS),60) \
		$(if $(FAULTS),--faults $(FAULTS)) $(if $(JSON),--json $(JSON)) $(ARGS)

check: setup audit ## Lint, format, types, the order of imports, and the audit of the dependencies
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: setup ## Ask PyPI for known weaknesses of the locked dependencies; says so where it does not answer
	@$(BIN)/python -m tests.audit

sbom: setup ## Write sbom.json, the bill of materials of requirements.lock (CycloneDX), to go with an image
	@$(BIN)/python -m tests.sbom

format: setup ## Format the code, and mend what the linter can
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

contracts: setup ## Write docs/asyncapi.json anew, from the code's own tables
	cd docs && AFTERCALL_SUBSCRIBERS=ledger,postcall,crm,forward,alerts ../$(BIN)/aftercall topology export \
		--format asyncapi --output-file asyncapi.json

bench: setup broker $(RIVALS)/.installed ## Compare with Celery, FastStream and a plain program, up to an hour, into docs/performance.md; ARGS="--repeats 1"
	$(BIN)/python -m bench.compare $(ARGS)

lock: setup ## Resolve the dependencies anew into the three lock files; UPGRADE=1 takes newer ones
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml $(EXTRAS:%=--extra %) --output-file requirements.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --all-extras --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) bench/requirements.in --constraint requirements.lock --output-file bench/requirements.lock
	@if grep -n '://' requirements*.lock bench/requirements.lock; then echo "A lock file names an address; it is to hold names, versions and hashes only." >&2; exit 1; fi

image: setup broker ## Build the container image without a Docker engine, and let a call travel through it; needs root
	docker/build-without-engine
	TRY_IMAGE=1 $(BIN)/python -m pytest tests/acceptance/test_image.py

clean: ## Remove the environments and the caches, never .aftercall, which may hold calls
	rm -rf .venv $(RIVALS) .debian .image dist sbom.json .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Before anything that has a time limit: installing a server may take minutes.
broker: setup
	@$(BIN)/python -m worker.simulate.rabbitmq

database: setup
	@$(BIN)/python -m tests.postgresql

node: setup
	@$(BIN)/python -m tests.node

tools: setup
	@$(BIN)/python -m tests.tools

# The build backend is locked like all the rest, hence no isolated build; it looks for its binary on the PATH.
$(STAMP): requirements-dev.lock pyproject.toml
	@$(MAKE) --silent $(BIN)/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	$(PIP) install --no-compile --require-hashes --requirement requirements-dev.lock
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# What the comparison measures us against has an environment of its own.
$(RIVALS)/.installed: bench/requirements.lock
	$(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --requirement bench/requirements.lock
	@touch $@

# Debian and Ubuntu keep what `python3 -m venv` needs in a package of its own.
$(BIN)/python:
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get --quiet update && DEBIAN_FRONTEND=noninteractive apt-get --quiet install --yes --no-install-recommends python3 python3-venv; \
		else \
			echo "$(PYTHON) cannot make virtual environments: install python3-venv (Debian, Ubuntu), or name another Python with PYTHON=…" >&2; exit 1; \
		fi; \
	fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version): name another one with PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv .venv
