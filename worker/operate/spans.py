"""Spans, by OpenTelemetry's conventions for messaging and HTTP; loaded only where tracing is on.

A delivery's span is the child of the publish that it comes from: each is one message, and a call then is one trace,
however often it waited in a tier. What begins without a call (a sweep, a replay) is linked to, not a parent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
from aio_pika.abc import AbstractIncomingMessage
from aiohttp import web
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from consumers.messages import Delivery, Message
from consumers.outcomes import Hold, Reject, Retry, TooLarge, Undecodable
from consumers.settling import Settlement
from worker.operate.conventions import of_delivery, of_message, of_request
from worker.operate.otlp import open_provider
from worker.operate.threads import Threads

T = TypeVar("T")
Publish = Callable[[Message], Awaitable[T]]
Settle = Callable[..., Awaitable[T]]
Handle = Callable[[Delivery, float], Awaitable[tuple[Message, ...]]]
NOTE: Final = "call.noted"
FORESEEN: Final = (Hold, Reject, Retry, TooLarge, Undecodable)
TRACE: Final = ("traceparent", "tracestate")
_W3C: Final = TraceContextTextMapPropagator()


def open_spans(service: str) -> "Spans":
    """Spans that go to the collector. Raises `ValueError` for a variable of OpenTelemetry's that makes no sense."""
    return Spans(open_provider(service))


class Spans:
    """Puts spans around what it is given."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("aftercall")

    async def flush(self, within_s: float) -> None:
        """Export what is left, and no more after that. What hangs in it is left behind in its thread."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await Threads("the last spans").run(self._provider.shutdown)

    @contextmanager
    def span(
        self,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        within: Context | None = None,
        links: Sequence[Link] = (),
        attributes: Mapping[str, Any],
    ) -> Iterator[Span]:
        """A span around what is done, as the present one; `within` a context other than the present."""
        with self._tracer.start_as_current_span(
            name, within, kind, attributes, links, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                _fail(span, type(error).__qualname__)
                raise

    def publishing(self, publish: Publish[T], *, apart: bool) -> Publish[T]:
        """`publish` with a PRODUCER span, whose context the message carries on."""

        async def traced(message: Message) -> T:
            name = f"{message.exchange}:{message.type}".strip(":")
            within, links = _apart(message) if apart and message.type != NOTE else _origin(message)
            with self.span(
                f"publish {name}", SpanKind.PRODUCER, within=within, links=links, attributes=of_message(message, name)
            ) as span:
                done = await publish(_carrying(message))
                if done is not None:
                    span.set_attribute("aftercall.kept", str(done))
            return done

        return traced

    def settling(self, settle: Settle[T]) -> Settle[T]:
        """`settle` with a CONSUMER span, which tells how the delivery was settled."""

        async def traced(incoming: AbstractIncomingMessage, queue: str, *more: Any) -> T:
            within, attributes = _context(incoming.headers), of_delivery(incoming, queue)
            with self.span(f"process {queue}", SpanKind.CONSUMER, within=within, attributes=attributes) as span:
                settled = await settle(incoming, queue, *more)
                if isinstance(settled, Settlement):
                    _tell(span, settled)
            return settled

        return traced

    def handling(self, handle: Handle) -> Handle:
        """`handle` with the type of what it raises on the delivery's span, if that is a bug: such is tried again."""

        async def marked(delivery: Delivery, now: float) -> tuple[Message, ...]:
            try:
                return await handle(delivery, now)
            except Exception as error:
                if not isinstance(error, FORESEEN):
                    _fail(get_current_span(), type(error).__qualname__)
                raise

        return marked

    @property
    def serve(self) -> Any:
        """A middleware: a SERVER span for each request that there is a route for, within the sender's trace."""

        @web.middleware
        async def serve(request: web.Request, handler: Any) -> web.StreamResponse:
            resource = request.match_info.route.resource
            if resource is None:
                answer: web.StreamResponse = await handler(request)
                return answer
            attributes = {
                "http.request.method": request.method,
                "http.route": resource.canonical,
                "url.scheme": request.scheme,
            }
            name, within = f"{request.method} {resource.canonical}", _context(request.headers)
            with self.span(name, SpanKind.SERVER, within=within, attributes=attributes) as span:
                answer = await handler(request)
                _answered(span, answer.status, fails_from=500)
            return answer

        return serve

    def requests(self) -> aiohttp.TraceConfig:
        """What makes a CLIENT span of each request up to its answer's headers. No context goes out with it."""

        async def begin(_http: object, ctx: SimpleNamespace, request: aiohttp.TraceRequestStartParams) -> None:
            name, attributes = of_request(request.method, request.url)
            ctx.span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)

        async def end(_http: object, ctx: SimpleNamespace, request: aiohttp.TraceRequestEndParams) -> None:
            _answered(ctx.span, request.response.status, fails_from=400)
            ctx.span.end()

        async def fail(_http: object, ctx: SimpleNamespace, request: aiohttp.TraceRequestExceptionParams) -> None:
            _fail(ctx.span, type(request.exception).__qualname__)
            ctx.span.end()

        config = aiohttp.TraceConfig()
        config.on_request_start.append(begin)
        config.on_request_end.append(end)
        config.on_request_exception.append(fail)
        return config


def _fail(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR)


def _answered(span: Span, status: int, *, fails_from: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= fails_from:
        _fail(span, str(status))


def _tell(span: Span, settlement: Settlement) -> None:
    span.set_attribute("aftercall.outcome", settlement.name)
    if settlement.name == "dead_lettered":
        _fail(span, settlement.reason)
    elif settlement.reason:
        span.set_attribute("aftercall.tier", settlement.reason)


def _context(headers: Mapping[str, Any]) -> Context:
    """The context that headers carry, nothing else; of a header that makes no sense none."""
    carrier = {name: value for name in TRACE if isinstance(value := headers.get(name), str)}
    return _W3C.extract(carrier, context=Context())


def _origin(message: Message) -> tuple[Context | None, Sequence[Link]]:
    """Within what goes on at present; what waited on a disk goes on where it was."""
    is_within = get_current_span().get_span_context().is_valid
    return (None if is_within else _context(message.headers)), ()


def _apart(message: Message) -> tuple[Context, Sequence[Link]]:
    """In a trace of its own, linked to what goes on at present, and to the trace that the message had if it has one."""
    had = get_current_span(_context(message.headers)).get_span_context()
    origins = (get_current_span().get_span_context(), had)
    return Context(), [Link(each) for each in origins if each.is_valid and each.trace_flags.sampled]


def _carrying(message: Message) -> Message:
    headers = {key: value for key, value in message.headers.items() if key not in TRACE}
    _W3C.inject(headers)
    return msgspec.structs.replace(message, headers=headers)
