"""The rules and dashboards as Prometheus itself reads them."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.observed import RULES, TESTS_OF_RULES, expressions
from tests.tools import find


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Prometheus' own tool to its end, whatever that is."""
    found = find("promtool")
    assert found, "The tests of rules need promtool: `make tools` unpacks it, or install the package prometheus."
    return subprocess.run([found, *arguments], capture_output=True, text=True, timeout=50, check=False)


def test_prometheus_takes_the_rules() -> None:
    done = promtool("check", "rules", RULES)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("tests", TESTS_OF_RULES, ids=lambda path: path.stem)
def test_the_alerts_come_and_stay_away_as_their_tests_say(tests: Path) -> None:
    done = promtool("test", "rules", tests)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_expression_of_a_dashboard_parses(tmp_path: Path) -> None:
    asked = (expression for some in expressions().values() for expression in some)
    told = [{"record": f"drawn:{number}", "expr": expression} for number, expression in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "drawn", "rules": told}]}))

    done = promtool("check", "rules", tmp_path / "rules.yml")

    assert done.returncode == 0, done.stdout + done.stderr
