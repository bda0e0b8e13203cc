import re
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from worker.operate import telemetry
from worker.operate.catalogue import bounds_of, labels_of, metrics, name_of, page, values_of
from worker.operate.probes import admin_application
from worker.operate.telemetry import at_zero, status_label

ROOT = Path(__file__).parents[2]
CONTRACT = {
    "aftercall_webhooks_total": ("account", "type", "answer"),
    "aftercall_webhook_seconds": (),
    "aftercall_spool_notifications": (),
    "aftercall_spool_oldest_seconds": (),
    "aftercall_deliveries_total": ("queue", "outcome"),
    "aftercall_delivery_seconds": ("queue",),
    "aftercall_delivery_age_seconds": ("queue",),
    "aftercall_vapi_requests_total": ("account", "status"),
    "aftercall_vapi_request_seconds": (),
    "aftercall_breaker_open": ("account",),
    "aftercall_call_end_to_emit_seconds": ("source",),
    "aftercall_dead_letters_total": ("queue", "reason"),
    "aftercall_sweep_calls_total": ("account", "verdict"),
    "aftercall_calls_unaccounted": ("account",),
    "aftercall_drift_total": ("what",),
    "aftercall_build_info": ("version", "python"),
}
"""The names and labels that others build upon."""


def test_the_metrics_of_the_contract_are_there_with_their_labels() -> None:
    found = {name_of(metric): labels_of(metric) for metric in metrics()}

    assert {name: found.get(name) for name in CONTRACT} == CONTRACT


def test_the_page_of_metrics_is_what_the_code_says() -> None:
    assert "\n".join(page()) in (ROOT / "docs" / "metrics.md").read_text(), (
        "write the tables of docs/metrics.md anew: python -m worker.operate.catalogue"
    )


async def test_every_metric_of_the_page_is_exported() -> None:
    async def look() -> dict[str, bool]:
        return {}

    async with TestClient(TestServer(admin_application(look))) as client:
        told = await (await client.get("/metrics", headers={"Accept": "text/plain"})).text()

    missing = {name_of(metric) for metric in metrics() if f"# TYPE {name_of(metric)} " not in told}
    assert not missing


def test_every_metric_of_ours_in_the_registry_is_on_the_page() -> None:
    registered = {family.name for family in REGISTRY.collect() if family.name.startswith("aftercall_")}

    assert registered == {name_of(metric).removesuffix("_total") for metric in metrics()}


def test_every_metric_is_counted_somewhere() -> None:
    code = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py"))
    constants = [name for name, value in vars(telemetry).items() if isinstance(value, MetricWrapperBase)]

    assert [name for name in constants if not re.search(rf"\b{name}\b(?!: Final)", code)] == []


@pytest.mark.parametrize("metric", metrics(), ids=name_of)
def test_every_label_tells_what_its_values_are(metric: MetricWrapperBase) -> None:
    for label in labels_of(metric):
        assert values_of(metric, label)


@pytest.mark.parametrize("metric", [each for each in metrics() if isinstance(each, Histogram)], ids=name_of)
def test_buckets_rise_and_are_few(metric: Histogram) -> None:
    bounds = bounds_of(metric)

    assert list(bounds) == sorted(set(bounds))
    assert len(bounds) <= 16


def test_a_counter_begins_at_zero_for_every_combination_of_labels() -> None:
    counter = Counter("of_a_test", "Counts", ["queue", "outcome"], registry=None)

    at_zero(counter, ("a", "b"), ("acked", "retried"))

    counted = {tuple(sample.labels.values()): sample.value for sample in next(iter(counter.collect())).samples}
    assert counted == dict.fromkeys([("a", "acked"), ("a", "retried"), ("b", "acked"), ("b", "retried")], 0.0)


@pytest.mark.parametrize(("status", "label"), [(200, "200"), (521, "521"), (599, "599"), (600, "other"), (99, "other")])
def test_a_status_that_no_http_has_is_other(status: int, label: str) -> None:
    assert status_label(status) == label
