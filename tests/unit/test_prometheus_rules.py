"""What can be said of the rules without Prometheus; `tests/integration/test_promtool.py` runs them."""

import re
from itertools import chain, pairwise
from pathlib import Path

import pytest
from prometheus_client import Histogram

from tests.observed import (
    DASHBOARDS,
    ROOT,
    TESTS_OF_RULES,
    alerts,
    dashboard,
    exported,
    expressions,
    matchers_in,
    names_in,
    panels,
    rules,
    yaml,
)
from worker.operate.catalogue import bounds_of, labels_of, metrics, name_of

RECORDED = {rule["record"] for rule in rules() if "record" in rule}
OF_THE_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"}
"""Those of prometheus_client, on Linux."""
OF_PROMETHEUS = {"up"}
EVERYWHERE = {"job", "instance"}


def anchors() -> set[str]:
    """Where links into the runbook may lead: a heading in small letters, without signs, with hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (queue, le) (rate(a_bucket{queue=~"b.c{2}|d"}[5m])) > 0.5', {"a_bucket"}),
        (
            'a:b:c / on (account) group_left (version) (d unless on (x) label_replace(e == 1, "f", "$1", "g", "(.*)"))',
            None,
        ),
        ("min_over_time(a[1h]) offset 5m > 1e3 and b", {"a", "b"}),
    ],
)
def test_the_metrics_of_an_expression_are_found(expression: str, names: set[str] | None) -> None:
    assert names_in(expression) - {"m"} == (names or {"a:b:c", "d", "e"})


@pytest.mark.parametrize("place", expressions())
def test_every_metric_of_a_rule_or_panel_is_one_that_is_exported(place: str) -> None:
    ours = {name for each in expressions()[place] for name in names_in(each) if not name.startswith("rabbitmq_")}

    assert ours <= exported() | RECORDED | OF_THE_PROCESS | OF_PROMETHEUS


@pytest.mark.parametrize("place", expressions())
def test_every_label_that_is_asked_for_is_one_of_the_metrics(place: str) -> None:
    labels = {name_of(metric): {*labels_of(metric), *EVERYWHERE, "le"} for metric in metrics()}

    for name, label, _ in chain.from_iterable(map(matchers_in, expressions()[place])):
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        assert family not in labels or label in labels[family], f"{name} has no {label}"


@pytest.mark.parametrize("place", expressions())
def test_every_bucket_that_is_asked_for_is_there(place: str) -> None:
    bounds = {name_of(each): bounds_of(each) for each in metrics() if isinstance(each, Histogram)}

    for name, label, value in chain.from_iterable(map(matchers_in, expressions()[place])):
        if label == "le":
            assert value in {str(float(bound)) for bound in bounds[name.removesuffix("_bucket")]}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on(alert: dict[str, dict[str, str]]) -> None:
    link = alert["annotations"]["runbook_url"]

    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert all(alert["annotations"][key] for key in ("summary", "description"))
    assert link == f"docs/runbook.md#{str(alert['alert']).lower()}"
    assert link.partition("#")[2] in anchors()


def test_every_section_of_the_runbook_about_an_alert_is_about_one_that_there_is() -> None:
    told = {anchor for anchor in anchors() if anchor.startswith("aftercall")}

    assert told == {alert["alert"].lower() for alert in alerts()}


def test_every_alert_is_tested_to_come_and_to_stay_away() -> None:
    checks = [
        (check["alertname"], bool(check["exp_alerts"]))
        for path in TESTS_OF_RULES
        for each in yaml.safe_load(path.read_text())["tests"]
        for check in each["alert_rule_test"]
    ]

    assert {name for name, fires in checks if fires} == {alert["alert"] for alert in alerts()}
    assert {name for name, fires in checks if not fires} >= {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_panel_says_what_it_shows_in_which_unit_and_from_where(path: Path) -> None:
    for panel in panels(path):
        assert all(panel.get(key) for key in ("title", "description", "targets")), panel
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert {each["datasource"]["uid"] for each in (panel, *panel["targets"])} == {"${datasource}"}
        assert {link["url"].partition("#")[2] for link in panel.get("links", [])} <= anchors()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_panels_of_a_dashboard_lie_side_by_side(path: Path) -> None:
    places = [panel["gridPos"] for panel in dashboard(path)["panels"]]

    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert all((a["y"], a["x"]) < (b["y"], b["x"]) for a, b in pairwise(places))
    taken = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(taken) == len(set(taken))


def test_dashboards_and_their_panels_have_ids_of_their_own() -> None:
    uids = [dashboard(path)["uid"] for path in DASHBOARDS]

    assert len(uids) == len(set(uids)) == 6
    for path in DASHBOARDS:
        ids = [panel["id"] for panel in dashboard(path)["panels"]]
        assert len(ids) == len(set(ids))
