"""The way of spans to a collector: OTLP over HTTP, in batches, from a thread that no call waits for."""

import logging
import uuid
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from worker.operate.telemetry import logger

TOLD_MAX = 300


def open_provider(service: str) -> TracerProvider:
    """What spans are made with, for handlers of the user's too; log lines then tell the trace that they belong to.

    Raises `ValueError` for a variable of OpenTelemetry's that makes no sense.
    """
    quiet = _Once()
    provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Told(OTLPSpanExporter(), quiet)))
    quiet.is_starting = False
    trace.set_tracer_provider(provider)
    structlog.get_config()["processors"].insert(0, _with_trace)  # in place, for loggers that are bound already
    return provider


def _resource(service: str) -> Resource:
    """Who says it: what the variables say goes first."""
    own = {"service.name": service, "service.version": version("aftercall"), "service.instance.id": str(uuid.uuid4())}
    said = OTELResourceDetector().detect().attributes
    return Resource.create({**own, **said})


def _with_trace(_logger: Any, _method: str, event: Any) -> Any:
    here = trace.get_current_span().get_span_context()
    if here.is_valid:
        event["trace_id"], event["span_id"] = trace.format_trace_id(here.trace_id), trace.format_span_id(here.span_id)
    return event


class _Once(logging.Handler):
    """Logs what the library complains of: at the start, of each variable; then the first, till something went through.

    Variables are complained of while the exporter is made, some of them twice.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.is_starting, self.has_told = True, False
        self._ignored: set[str] = set()
        library = logging.getLogger("opentelemetry")
        library.handlers, library.propagate = [self], False

    def emit(self, record: logging.LogRecord) -> None:
        """Log it as ours: a collector that is away fails batch after batch."""
        detail = _without_header(record).partition("\n")[0][:TOLD_MAX]
        if self.is_starting and detail not in self._ignored:
            self._ignored.add(detail)
            logger().warning("tracing.variable_ignored", detail=detail)
        if not self.is_starting and not self.has_told:
            self.has_told = True
            logger().warning("tracing.failing", detail=detail)


def _without_header(record: logging.LogRecord) -> str:
    """The complaint; of a header that makes no sense the library would quote the whole, a key perhaps."""
    template = str(record.msg)
    return template.replace("%s", "(not shown)") if "header" in template.lower() else record.getMessage()


class _Told(SpanExporter):
    """An exporter that lets it be known when it works again."""

    def __init__(self, exporter: SpanExporter, quiet: _Once) -> None:
        self._exporter = exporter
        self._quiet = quiet

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS and self._quiet.has_told:
            self._quiet.has_told = False
            logger().info("tracing.exports_again")
        return result

    def shutdown(self) -> None:
        """End it, and a wait for the next try too."""
        self._exporter.shutdown()
