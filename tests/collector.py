"""A collector of traces: takes OTLP over HTTP, protobuf, as the real one does, and keeps what came."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.processes import eventually
from tests.serving import listening

Kind = Span.SpanKind


@dataclass(frozen=True)
class Seen:
    """A span as it arrived; `error` is whether its status says so."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    events: tuple[tuple[str, dict[str, Any]], ...]
    error: bool


@dataclass
class Collector:
    """What arrived."""

    url: str = ""
    status: int = 200
    spans: list[Seen] = field(default_factory=list)
    requests: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What has a process send its spans here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def named(self, name: str) -> list[Seen]:
        return [each for each in self.spans if each.name == name]

    async def one(self, name: str) -> Seen:
        """The only span of a name, once it is there."""
        found = await eventually(lambda: self.named(name))
        assert len(found) == 1, found
        return found[0]

    def way_to(self, seen: Seen) -> list[str]:
        """The names of a span and all those above it, the highest first."""
        by_id = {each.span_id: each for each in self.spans}
        way = [seen]
        while above := by_id.get(way[0].parent_id):
            way.insert(0, above)
        return [each.name for each in way]

    async def take(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.status != 200:
            return web.Response(status=self.status)
        assert request.content_type == "application/x-protobuf"
        for each in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            service = _values(each.resource.attributes)["service.name"]
            self.spans += [_seen(service, span) for scope in each.scope_spans for span in scope.spans]
        body = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=body, content_type="application/x-protobuf")


def _seen(service: str, span: Span) -> Seen:
    return Seen(
        service=service,
        name=span.name,
        kind=Kind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_values(span.attributes),
        links=tuple(link.trace_id.hex() for link in span.links),
        events=tuple((each.name, _values(each.attributes)) for each in span.events),
        error=span.status.code == 2 or bool(span.status.message),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector that listens."""
    collector = Collector()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/traces", collector.take)
    async with listening(app) as collector.url:
        yield collector
