"""Known weaknesses of the locked dependencies, the tools' too, as PyPI tells of them: `python -m tests.audit`.

Exit code 1 if there is any. Where PyPI's answers are not to be had, as behind a mirror that has packages alone, it says
what was not asked, and ends well: a check that needs the network must not fail for want of it.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

HERE: Final = Path(__file__).parents[1]
LOCK: Final = "requirements-dev.lock"
"""It holds all of requirements.lock; a test sees to that."""
WITHIN_S: Final = 120.0
OPTIONS: Final = ("--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json", "--requirement", LOCK)
Findings = list[str]


def judged(report: dict[str, Any]) -> tuple[Findings, list[str]]:
    """The weaknesses of pip-audit's report, a line for each, and the packages it could not ask about.

    pip-audit itself ends with 0 and "No known vulnerabilities found" if it could ask about none.
    """
    unasked = [each["name"] for each in report["dependencies"] if "skip_reason" in each]
    return [line for each in report["dependencies"] for line in _findings(each)], unasked


def _findings(package: dict[str, Any]) -> Iterator[str]:
    for each in package.get("vulns", ()):
        names = " ".join((each["id"], *each.get("aliases", ())))
        mend = f"mended in {', '.join(each['fix_versions'])}" if each["fix_versions"] else "not mended yet"
        yield f"{package['name']} {package['version']}: {names}: {mend}"


def told(findings: Findings, unasked: list[str], count: int) -> str:
    """The outcome in words."""
    if len(unasked) == count:
        return "The audit was skipped: PyPI's advisories are not to be had here."
    asked = f"{count - len(unasked)} of {count} locked packages audited, {len(findings)} known weaknesses."
    return "\n".join((*findings, asked, *([f"Not audited: {', '.join(unasked)}."] if unasked else ())))


def main() -> int:
    """Audit, and say what was found: 1 if there is any weakness."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *OPTIONS],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN_S,
        )
        report = orjson.loads(done.stdout)
    except subprocess.TimeoutExpired:
        print(f"The audit was skipped: PyPI did not answer within {WITHIN_S:g} s.")  # noqa: T201
        return 0
    except orjson.JSONDecodeError:  # it found nothing out: then its last line says why
        why = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        print(f"The audit was skipped: pip-audit could not ask ({why[0]}).")  # noqa: T201
        return 0
    findings, unasked = judged(report)
    print(told(findings, unasked, len(report["dependencies"])))  # noqa: T201
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
