"""The rules and dashboards of `observability/`, and what stands in their expressions."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from worker.operate.catalogue import metrics, name_of

ROOT: Final = Path(__file__).parents[1]
RULES: Final = ROOT / "observability" / "rules" / "aftercall.yml"
TESTS_OF_RULES: Final = sorted((RULES.parent / "tests").glob("*.yml"))
DASHBOARDS: Final = sorted((ROOT / "observability" / "dashboards").glob("*.json"))
VARIABLES: Final = {"$__rate_interval": "5m", "$account": ".*"}

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR: Final = re.compile(r"([a-zA-Z_:][\w:]*)?\s*\{([^{}]*)\}")
_LABELS: Final = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME: Final = re.compile(r"(?<![\w.:])[a-zA-Z_:][\w:]*(?![\w:]|\s*\()")
_WORDS: Final = frozenset({"and", "or", "unless", "bool", "offset"})


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def dashboard(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def panels(path: Path) -> list[dict[str, Any]]:
    """Those that show something: rows only divide."""
    return [panel for panel in dashboard(path)["panels"] if panel["type"] != "row"]


def drawn(path: Path) -> Iterator[str]:
    """The expressions of a dashboard, with values for what Grafana puts in."""
    for panel in panels(path):
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            yield expression


def expressions() -> dict[str, list[str]]:
    """Every expression there is, by the alert, record or dashboard in which it stands."""
    ruled = {rule.get("alert") or rule["record"]: [rule["expr"]] for rule in rules()}
    return ruled | {path.stem: list(drawn(path)) for path in DASHBOARDS}


def names_in(expression: str) -> set[str]:
    """The metrics that an expression names."""
    bare = _STRING.sub('""', expression)
    for noise in (re.compile(r"\{[^{}]*\}"), _LABELS, re.compile(r"\[[^\]]*\]")):
        bare = noise.sub(" ", bare)
    return {name for name in _NAME.findall(bare) if name not in _WORDS}


def matchers_in(expression: str) -> Iterator[tuple[str, str, str]]:
    """Metric, label and value of every matcher in an expression."""
    for metric, inside in _SELECTOR.findall(expression):
        for label, value in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"', inside):
            yield metric, label, value


def exported() -> set[str]:
    """The names of our series, those of histograms with their suffixes."""
    found = set()
    for metric in metrics():
        is_histogram = next(iter(metric.describe())).type == "histogram"
        found |= {name_of(metric) + suffix for suffix in (("_bucket", "_sum", "_count") if is_histogram else ("",))}
    return found
