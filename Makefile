.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit check format contracts bench lock manifests image clean broker database node tools drill

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Most tests wait for real servers: three files at a time keep two processors busy.
WORKERS ?= 3
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What the image can do beyond the core; `parquet` alone would more than double its size.
EXTRAS := alerts crm postgres
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install the locked dependencies; done by itself where it is needed

demo: setup broker ## Show calls travelling through, on this machine alone; KEEP=1 stays up until Ctrl-C
	@$(BIN)/aftercall demo $(if $(filter-out 0,$(KEEP)),--keep)

test: setup check broker database node tools ## Everything CI runs: the checks, then all tests, against a real RabbitMQ
	$(BIN)/python -m pytest -m alone
	$(BIN)/python -m pytest -m "not alone" -n $(WORKERS) --dist loadfile $(ARGS)

test-unit: setup ## The tests that need no broker, in seconds
	$(BIN)/python -m pytest tests/unit $(ARGS)

manifests: setup ## Write what in k8s/ follows from observability/
	@$(BIN)/python -m tests.kubernetes

drill: setup broker ## Let calls end while everything goes wrong that can, and count them; SEED=7 CALLS=300 SECONDS=60 FAULTS=a,b JSON=account.json
	@$(BIN)/python -m worker.simulate.drill --seed $(or $(SEED),1) --calls $(or $(CALLS),300) --seconds $(or $(SECONDS),60) \
		$(if $(FAULTS),--faults $(FAULTS)) $(if $(JSON),--json $(JSON)) $(ARGS)

check: setup ## Lint, format, types and the order of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Format the code, and mend what the linter can
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

contracts: setup ## Write docs/asyncapi.json anew, from the code's own tables
	cd docs && AFTERCALL_SUBSCRIBERS=ledger,postcall,crm,forward,alerts ../$(BIN)/aftercall topology export \
		--format asyncapi --output-file asyncapi.json

bench: setup broker ## Measure
	$(BIN)/python -m bench $(ARGS)

lock: setup ## Resolve the dependencies anew into requirements.lock and requirements-dev.lock; UPGRADE=1 takes newer ones
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml $(EXTRAS:%=--extra %) --output-file requirements.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --all-extras --group dev --constraint requirements.lock --output-file requirements-dev.lock
	@if grep -n '://' requirements*.lock; then echo "A lock file names an address; it is to hold names, versions and hashes only." >&2; exit 1; fi

image: setup broker ## Build the container image without a Docker engine, and let a call travel through it; needs root
	docker/build-without-engine
	TRY_IMAGE=1 $(BIN)/python -m pytest tests/acceptance/test_image.py

clean: ## Remove .venv and the caches, never .aftercall, which may hold calls
	rm -rf .venv .image dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
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
	$(PIP) install --require-hashes --requirement requirements-dev.lock
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --no-deps --no-build-isolation --editable .
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
