"""What Aftercall is made of: the bill of materials, the licences, and what the audit makes of an answer."""

import re
from importlib.metadata import PackageNotFoundError, version

import orjson
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests import audit, sbom

PACKAGES = sbom.locked(sbom.LOCK)
WITH_TOOLS = sbom.locked(sbom.HERE / audit.LOCK)
ACCEPTED = {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "PSF-2.0", "Python-2.0", "MPL-2.0"}
"""Licences that let anybody use, change and pass on the whole; MPL-2.0 asks for changes to the package's own files."""
ACCEPTED_OF = {
    "psycopg": "LGPL-3.0-only",  # loaded as a library, and an installation may put another in its place
    "psycopg-binary": "LGPL-3.0-only",
}


def is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def test_the_bill_of_materials_is_valid_cyclonedx() -> None:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(orjson.dumps(sbom.document()).decode())

    assert error is None


def test_a_bill_without_the_name_of_a_component_would_not_be_valid() -> None:
    bill = sbom.document()
    del bill["components"][0]["name"]

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(orjson.dumps(bill).decode()) is not None


def test_the_bill_lists_exactly_the_locked_packages_with_every_hash() -> None:
    bill = sbom.document()
    lines = sbom.LOCK.read_text().splitlines()

    listed = {f"{each['name']}=={each['version']}" for each in bill["components"]}
    hashes = [each["content"] for part in bill["components"] for each in part["externalReferences"][0]["hashes"]]

    assert listed == {line.split()[0] for line in lines if re.match("[a-z]", line)}
    assert hashes == [line.strip(" \\").removeprefix("--hash=sha256:") for line in lines if "--hash=" in line]


def test_the_bill_says_what_wants_what_up_to_aftercall_itself() -> None:
    wants = {each["ref"].split("/")[1].split("@")[0]: each["dependsOn"] for each in sbom.document()["dependencies"]}

    assert {each.partition("@")[0] for each in wants["aiormq"]} == {"pkg:pypi/pamqp", "pkg:pypi/yarl"}
    assert {each.purl for each in PACKAGES} == {wanted for each in wants.values() for wanted in each}


def test_the_bill_of_one_lock_file_is_always_the_same() -> None:
    assert sbom.document() == sbom.document()


@pytest.mark.parametrize("package", WITH_TOOLS, ids=lambda each: each.name)
def test_a_package_has_a_licence_that_we_accept(package: sbom.Package) -> None:
    licence = sbom.licence_of(package.name)
    if not licence and package.marker and not is_installed(package.name):
        pytest.skip(f"not installed here: {package.marker}")

    named = set(re.findall(r"[A-Za-z0-9.+-]+", licence)) - {"AND", "OR", "WITH"}

    assert named, "it names no licence that SPDX knows: add how it spells it to SPELT"
    assert named <= ACCEPTED | {ACCEPTED_OF.get(package.name, "MIT")}


def test_what_is_audited_is_all_that_is_installed_for_users_too() -> None:
    assert {(each.name, each.version) for each in PACKAGES} <= {(each.name, each.version) for each in WITH_TOOLS}


def test_an_audit_tells_every_weakness_even_if_not_every_package_could_be_asked_about() -> None:
    weak = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["3.14.6"], "description": ""}
    report = {
        "dependencies": [
            {"name": "aiohttp", "version": "3.14.5", "vulns": [weak]},
            {"name": "orjson", "version": "3.13.0", "vulns": []},
            {"name": "yarl", "skip_reason": "Dependency not found on PyPI and could not be audited: yarl (1.25.1)"},
        ]
    }

    findings, unasked = audit.judged(report)

    assert findings == ["aiohttp 3.14.5: PYSEC-2026-1 CVE-2026-1: mended in 3.14.6"]
    assert audit.told(findings, unasked, 3).endswith(
        "2 of 3 locked packages audited, 1 known weaknesses.\nNot audited: yarl."
    )


def test_an_audit_that_could_ask_about_nothing_is_not_taken_for_a_clean_one() -> None:
    report = {"dependencies": [{"name": "yarl", "skip_reason": "Dependency not found on PyPI"}]}

    assert "was skipped" in audit.told(*audit.judged(report), 1)
