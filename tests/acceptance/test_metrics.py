"""What the rules of `observability/` rest upon, in the metrics of real processes."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import Installation, Vapi, fresh_report, sample
from tests.processes import RunningProcess, eventually

LIMIT = "2000000000"


class Told:
    """The metrics of a process, read once."""

    def __init__(self, text: str) -> None:
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        self._values = {(each.name, frozenset(each.labels.items())): each.value for each in samples}

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._values.get((f"aftercall_{name}", frozenset(labels.items())))

    def all(self, name: str, label: str) -> set[Any]:
        return {dict(labels).get(label) for each, labels in self._values if each == f"aftercall_{name}"}


async def metrics_of(process: RunningProcess, installation: Installation, role: str) -> Told:
    return Told((await process.wait_for_url(installation.probe(role, "metrics"))).decode())


async def test_what_an_alert_waits_for_begins_at_zero(installation: Installation) -> None:
    endpoint = await installation.started("webhook")
    enricher = await installation.started("consume", "enrich", "ledger")
    received = await metrics_of(endpoint, installation, "webhook")
    consumed = await metrics_of(enricher, installation, "consume")

    refused = {"account": "default", "type": "end-of-call-report", "answer": "503"}
    assert received("webhooks_total", **refused) == 0
    assert received.all("dead_letters_total", "reason") == {"undecodable", "no-type", "no-call-id"}
    assert consumed.all("dead_letters_total", "queue") == {"calls.enrich.default", "calls.ledger"}
    assert consumed("dead_letters_total", queue="calls.ledger", reason="error") == 0
    assert consumed("deliveries_total", queue="calls.ledger", outcome="unsettled") == 0
    assert consumed("call_end_to_emit_seconds_bucket", source="both", le="60.0") == 0
    assert consumed("breaker_open", account="default") == 0


async def test_a_process_tells_its_roles_and_its_limits(installation: Installation) -> None:
    endpoint = await installation.started("webhook", AFTERCALL_SPOOL_MAX_BYTES="5000000")
    enricher = await installation.started("consume", "enrich", "ledger", AFTERCALL_MEMORY_MAX_BYTES=LIMIT)
    received = await metrics_of(endpoint, installation, "webhook")
    consumed = await metrics_of(enricher, installation, "consume")

    assert received.all("role_info", "runs") == {"webhook"}
    assert received("spool_max_bytes") == 5_000_000
    assert received("memory_max_bytes") == 0
    assert consumed.all("role_info", "runs") == {"enrich", "ledger"}
    assert consumed("memory_max_bytes") == float(LIMIT)


async def test_a_sweep_tells_its_role_and_every_verdict(installation: Installation) -> None:
    await installation.started("consume", "ledger")
    sweep = await installation.started("sweep")
    await sweep.wait_for_line("sweep.finished")
    told = await metrics_of(sweep, installation, "sweep")

    assert told.all("role_info", "runs") == {"sweep"}
    assert told.all("sweep_calls_total", "verdict") == {"known", "swept", "behind", "unfinished"}
    assert told("calls_unaccounted", account="default") == 0


async def test_a_body_that_is_parked_is_counted_as_a_dead_letter_of_the_endpoint(installation: Installation) -> None:
    endpoint = await installation.started("webhook")

    assert await installation.post(b"no json at all") == 200

    told = await metrics_of(endpoint, installation, "webhook")
    assert told("dead_letters_total", queue="calls.webhook", reason="undecodable") == 1
    assert told("dead_letters_total", queue="calls.webhook", reason="no-type") == 0


async def test_a_call_is_timed_from_its_end_to_its_webhook_and_to_its_emission(
    installation: Installation, vapi: Vapi
) -> None:
    call = sample("call-web.json")
    vapi.calls[call["id"]] = call
    await installation.started("webhook")
    enricher = await installation.started("consume", "enrich")
    await installation.post(fresh_report("web"))

    async def is_timed() -> bool:
        told = await metrics_of(enricher, installation, "consume")
        return told("call_end_to_receipt_seconds_count") == told("call_end_to_emit_seconds_count", source="both") == 1

    await eventually(is_timed)
