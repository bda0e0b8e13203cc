import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress

import pytest
from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_trace_id
from structlog.testing import capture_logs
from yarl import URL

from consumers.messages import Delivery, Message
from consumers.outcomes import Retry
from consumers.settling import note
from worker.operate import tracing
from worker.operate.conventions import of_request
from worker.operate.spans import Spans

TRACE = "a" * 32
MESSAGE = Message(
    exchange="calls",
    routing_key="call.ended.default",
    body=b"{}",
    type="call.ended",
    call_id="c-1",
    headers={"traceparent": f"00-{TRACE}-{'b' * 16}-01", "tracestate": "vendor=1", "x-own": "kept"},
)
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exported: InMemorySpanExporter) -> Iterator[Spans]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    yield Spans(provider)
    provider.shutdown()


class Taken(list[Message]):
    async def publish(self, message: Message) -> None:
        self.append(message)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_a_collector_that_something_names_switches_tracing_on(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.is_wanted(environment) is wanted


def test_off_everything_is_what_it_was() -> None:
    taken, app = Taken(), web.Application()
    publish = taken.publish

    assert tracing.publishing(publish, apart=True) is publish
    assert tracing.settling(publish) is publish
    assert not tracing.serving(app).middlewares
    assert tracing.requests() == []
    assert isinstance(tracing.span("sweep"), nullcontext)


def test_a_protocol_that_is_not_spoken_is_told_of_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")

    with capture_logs() as lines:
        tracing.start_tracing("aftercall")

    assert [line["event"] for line in lines] == ["tracing.off"]
    assert "only http/protobuf is spoken here" in lines[0]["detail"]
    assert tracing.requests() == []


@pytest.mark.parametrize("exporter", ["console", "otlp,console", "zipkin"])
def test_an_exporter_that_is_not_understood_is_told_of(exporter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", exporter)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")

    with capture_logs() as lines:
        tracing.start_tracing("aftercall")

    told = f"OTEL_TRACES_EXPORTER is {exporter}: only otlp and none are understood here, so no traces are exported"
    assert [(line["event"], line["detail"]) for line in lines] == [("tracing.off", told)]
    assert tracing.requests() == []


def test_switched_off_tracing_tells_nothing_of_its_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    with capture_logs() as lines:
        tracing.start_tracing("aftercall")

    assert lines == []


def test_without_the_extra_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setitem(sys.modules, "worker.operate.spans", None)

    with capture_logs() as lines:
        tracing.start_tracing("aftercall")

    assert "pip install 'aftercall[otel]'" in lines[0]["detail"]


async def test_a_message_goes_on_in_the_trace_that_it_carries(spans: Spans, exported: InMemorySpanExporter) -> None:
    taken = Taken()
    await spans.publishing(taken.publish, apart=False)(MESSAGE)

    (span,) = exported.get_finished_spans()
    assert span.parent is not None
    assert format_trace_id(span.parent.trace_id) == TRACE
    assert taken[0].headers == {
        "x-own": "kept",
        "traceparent": f"00-{TRACE}-{span.context.span_id:016x}-01",
        "tracestate": "vendor=1",
    }


async def test_apart_a_message_begins_a_trace_with_links_and_a_note_does_not(
    spans: Spans, exported: InMemorySpanExporter
) -> None:
    taken = Taken()
    publish = spans.publishing(taken.publish, apart=True)
    with spans.span("replay", attributes={}) as run:
        await publish(MESSAGE)
        await publish(note("replayed", "default", "c-1", 1.0, {}))

    own, noted, _ = exported.get_finished_spans()
    assert own.parent is None
    assert [format_trace_id(link.context.trace_id) for link in own.links] == [
        format_trace_id(run.get_span_context().trace_id),
        TRACE,
    ]
    assert "tracestate" not in taken[0].headers, "that of another trace"
    assert noted.context.trace_id == run.get_span_context().trace_id


async def test_a_trace_that_nobody_keeps_is_no_link(spans: Spans, exported: InMemorySpanExporter) -> None:
    invented = {"traceparent": f"00-{TRACE}-{'b' * 16}-00"}
    message = Message(exchange="calls", routing_key="k", body=b"", type="call.ended", headers=invented)

    await spans.publishing(Taken().publish, apart=True)(message)

    assert exported.get_finished_spans()[0].links == ()


@pytest.mark.parametrize("header", [None, 1.5, "", "nonsense", f"00-{'0' * 32}-{'0' * 16}-01", b"\xff"])
async def test_a_header_that_makes_no_sense_begins_a_trace(
    header: object, spans: Spans, exported: InMemorySpanExporter
) -> None:
    message = Message(exchange="calls", routing_key="k", body=b"", type="t", headers={"traceparent": header})

    await spans.publishing(Taken().publish, apart=False)(message)

    assert exported.get_finished_spans()[0].parent is None


@pytest.mark.parametrize(("error", "told"), [(KeyError("+15550100"), "KeyError"), (Retry("busy"), None)])
async def test_an_error_is_told_by_its_type_alone_and_only_if_nobody_foresaw_it(
    error: Exception, told: str | None, spans: Spans, exported: InMemorySpanExporter
) -> None:
    async def handle(_delivery: Delivery, _now: float) -> tuple[Message, ...]:
        raise error

    with spans.span("process calls.billing", attributes={}), suppress(type(error)):
        await spans.handling(handle)(Delivery(queue="calls.billing", body=b""), 1.0)

    (span,) = exported.get_finished_spans()
    assert span.events == ()
    assert (span.attributes or {}).get("error.type") == told


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.vapi.ai/call/01a0", "GET /call/{id}"),
        ("https://api.vapi.ai/call/a%2Fb", "GET /call/{id}"),
        ("https://proxy/vapi/call?limit=1", "GET /call"),
        ("https://api.hubapi.com/crm/v3/objects/contacts/ada@example.com?idProperty=email", "GET"),
    ],
)
def test_a_request_is_named_by_its_template_and_never_by_what_is_in_its_path(url: str, name: str) -> None:
    told, attributes = of_request("GET", URL(url))

    assert told == name
    assert "ada" not in str(attributes)
    assert "01a0" not in str(attributes)
