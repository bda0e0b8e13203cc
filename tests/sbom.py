"""What Aftercall is made of, as CycloneDX: the packages of requirements.lock with their hashes, licences and wants.

`python -m tests.sbom` writes sbom.json, the same for the same lock file; `make` does, as `make sbom`. Licences are read
from the packages installed here: one that is for another system alone has none.
"""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import msgspec
import orjson
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

HERE: Final = Path(__file__).parents[1]
LOCK: Final = HERE / "requirements.lock"
PINNED: Final = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>\S+)(?: ; (?P<marker>[^\\\n]+?))?(?: \\)?$", re.MULTILINE
)
SPELT: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "BSD License": "LicenseRef-BSD",  # they do not say which
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""SPDX's names of licences that packages spell in their own way, in `License` or at the end of a classifier."""


class Package(msgspec.Struct, frozen=True):
    """A locked package: the SHA-256 of each of its files, and the packages that want it, "aftercall" among them."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    wanted_by: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its package URL, also its reference within the document."""
        return f"pkg:pypi/{self.name}@{self.version}"


def locked(lock: Path) -> list[Package]:
    """The packages of a lock file, in its order."""
    text = lock.read_text()
    found = list(PINNED.finditer(text))
    ends = [each.start() for each in found[1:]] + [len(text)]
    return [_package(each, text[each.end() : end]) for each, end in zip(found, ends, strict=True)]


def _package(pinned: re.Match[str], rest: str) -> Package:
    hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest))
    wanted_by = tuple(re.findall(r"^    #(?: via|  ) ([a-z0-9][a-z0-9._-]*)", rest, re.MULTILINE))
    return Package(pinned["name"], pinned["version"], pinned["marker"] or "", hashes, wanted_by)


@cache
def licence_of(name: str) -> str:
    """The licence of a package as an SPDX expression; empty if it is not installed here, or names none we know."""
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return ""
    return next(filter(None, map(_spdx, _said(said))), "")


def _said(package: PackageMetadata) -> Iterator[str]:
    """What a package says of its licence, the clearest first."""
    yield package.get("License-Expression") or ""
    yield package.get("License") or ""
    classifiers = (each.split(" :: ") for each in package.get_all("Classifier", []))
    yield from (kind[-1] for kind in classifiers if kind[0] == "License")


def _spdx(said: str) -> str:
    try:
        return canonicalize_license_expression(SPELT.get(said, said)) if said else ""
    except InvalidLicenseExpression:
        return ""


def document(lock: Path = LOCK) -> dict[str, Any]:
    """The bill of materials of a lock file. Source: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/."""
    packages = locked(lock)
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    root = Package("aftercall", project["version"], "", (), ())
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid5(NAMESPACE_URL, lock.read_text() + root.version).urn,
        "version": 1,
        "metadata": {"component": _component(root, "application", project["license"])},
        "components": [_component(each, "library", licence_of(each.name)) for each in packages],
        "dependencies": [
            {"ref": each.purl, "dependsOn": [other.purl for other in packages if each.name in other.wanted_by]}
            for each in (root, *packages)
        ],
    }


def _component(package: Package, kind: str, licence: str) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": kind,
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    if licence:
        component["licenses"] = [{"expression": licence}]
    if package.marker:
        component["properties"] = [{"name": "aftercall:only-where", "value": package.marker}]
    if package.hashes:
        hashes = [{"alg": "SHA-256", "content": each} for each in package.hashes]
        comment = "its files; a machine installs one of them"
        component["externalReferences"] = [
            {"type": "distribution", "url": package.purl, "comment": comment, "hashes": hashes}
        ]
    return component


if __name__ == "__main__":
    (HERE / "sbom.json").write_bytes(orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
