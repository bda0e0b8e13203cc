"""The enricher: ask Vapi for the call, join it with the notification, decide what goes out and when to ask again."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from consumers.ended_reasons import outcome_of
from consumers.enriched import EnrichedCall, Provenance, Timeline, emission
from consumers.merge import Joined, join
from consumers.messages import OURS, Delivery, Message
from consumers.notifications import Notification, read_notification
from consumers.outcomes import Hold, Retry
from consumers.readiness import NOT_FOUND_GRACE_S, missing_from
from consumers.redaction import Redact
from consumers.timestamps import iso
from consumers.tolerant_json import NotJson, parse

FetchCall = Callable[[str], Awaitable[bytes]]
"""Fetch the call of an id: the body of `GET /call/<id>`. Raises the errors below."""


IsKnown = Callable[[str, str], Awaitable[bool]]
"""Whether a call (account, id) has gone out before, as far as anybody can tell; when in doubt, no."""


class CallNotFound(Exception):
    """Vapi knows no such call: soon after the end that means not yet, later that it is gone."""


class CallRefused(Exception):
    """Vapi refuses this id for good: 400, say, for one that is no UUID."""


class CallUnreadable(Exception):
    """Vapi's answer for this call could not be read: cut off, or no call at all."""


class ApiUnavailable(Exception):
    """A cause that every call of the account shares: the API is down, slow or limiting, or the key is refused.

    `is_outage` says that this was known before, and nothing was asked.
    """

    def __init__(self, reason: str, retry_after: float | None = None, *, is_outage: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.is_outage = is_outage


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What an installation decides about enriching. The two times are seconds.

    An incomplete call goes out `emit_after_s` after its end; `give_up_after_s` after the first attempt nothing more is
    waited for. `redact` takes out what nobody downstream shall see, and `observe` is told of each call that goes out.
    What the sweep sent in is dropped if it `is_known` after all: its report may have come in meanwhile.
    """

    emit_after_s: float
    give_up_after_s: float
    redact: Redact
    observe: Callable[[EnrichedCall], None]
    is_known: IsKnown
    clock: Callable[[], float]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking Vapi: the call, or the trouble.

    `is_gone` means there is no more to be had, and `is_absent` that it depends on how long ago the call ended.
    """

    call: dict[str, Any] | None = None
    trouble: str = ""
    is_gone: bool = False
    is_absent: bool = False
    is_shared: bool = False
    is_outage: bool = False
    retry_after: float | None = None


async def enrich(delivery: Delivery, now: float, *, fetch_call: FetchCall, policy: Policy) -> tuple[Message, ...]:
    """The messages that go out for a notification now. Raises `Retry` or `Hold` while there is more to come.

    Its body is read last: while Vapi is asked, many wait as small as they came. Raises `Undecodable` for none.
    """
    call_id = delivery.call_id or read_notification(delivery, now).call_id
    if _came_by_sweep(delivery) and await policy.is_known(delivery.account, call_id):
        return ()
    answer = await ask(call_id, fetch_call)
    notification = read_notification(delivery, now)
    if notification.call_id != call_id:  # who published it named another call than it tells of
        answer = await ask(notification.call_id, fetch_call)
    return decide(notification, answer, policy, policy.clock())


def _came_by_sweep(delivery: Delivery) -> bool:
    return delivery.headers.get(f"{OURS}source") == "sweep" and not delivery.headers.get(f"{OURS}version")


async def ask(call_id: str, fetch_call: FetchCall) -> Answer:
    """Ask Vapi for a call, and say what its answer means."""
    try:
        return Answer(call=read_call(await fetch_call(call_id), call_id))
    except CallNotFound:
        return Answer(trouble="Vapi has no call of this id", is_absent=True)
    except CallRefused as error:
        return Answer(trouble=str(error), is_gone=True)
    except CallUnreadable as error:
        return Answer(trouble=str(error))
    except ApiUnavailable as error:
        return Answer(trouble=error.reason, is_shared=True, is_outage=error.is_outage, retry_after=error.retry_after)


def is_refusal(body: bytes) -> bool:
    """Whether the body of a 400 is Vapi's own: JSON with a `message` and its status, where a proxy has a page.

    Source: NestJS, whose errors Vapi's are (https://docs.nestjs.com/exception-filters).
    """
    try:
        told = parse(body)
    except NotJson:
        return False
    return isinstance(told, dict) and told.get("statusCode") == 400 and bool(told.get("message"))  # noqa: PLR2004


def read_call(body: bytes, call_id: str) -> dict[str, Any]:
    """The call in an answer of `GET /call/<id>`. Raises `CallUnreadable` if that is not what it is."""
    try:
        call = parse(body)
    except NotJson as error:
        raise CallUnreadable(f"Vapi's answer is not JSON: {error}") from error
    if not isinstance(call, dict) or call.get("id", call_id) != call_id:
        raise CallUnreadable("Vapi's answer is not the call that was asked for")
    return call


def decide(notification: Notification, answer: Answer, policy: Policy, now: float) -> tuple[Message, ...]:
    """What goes out, and whether this notification is done: it returns then, and raises `Retry` or `Hold` if not.

    A complete call goes out and is done. An incomplete one goes out when its deadline has come, and again whenever
    less is missing; it stays in the tiers for the rest, until the time to give up. Without an answer nothing new is
    known: what is out already is never followed by less.
    """
    journey = notification.journey
    joined = join(notification.report, answer.call)
    is_gone = answer.is_gone or (answer.is_absent and now >= notification.ended_at + NOT_FOUND_GRACE_S)
    asked = answer.call is not None or is_gone
    missing = missing_from(joined.call, notification.report, asked=asked)
    deadline = notification.ended_at + policy.emit_after_s
    is_over = now >= journey.first_attempt_at + policy.give_up_after_s and not answer.is_shared
    is_news = asked and len(missing) < len(journey.missing) if journey.version else now >= deadline

    if missing and not is_news and not (is_over and journey.version):
        raise _waiting(answer, missing, None if journey.version else deadline, now)
    enriched = _enriched(
        notification, joined, missing, policy.redact, fetched_at=None if answer.call is None else now, now=now
    )
    message = emission(enriched, source=journey.source, emitted_at=now, trace=notification.trace)
    if missing and not is_news and (answer.call is None or message.headers["ce-id"] == journey.emitted):
        return ()
    policy.observe(enriched)
    if missing and not is_over:
        raise _remembering(answer, missing, message, enriched.version)
    return (message,)


def _enriched(
    notification: Notification,
    joined: Joined,
    missing: tuple[str, ...],
    redact: Redact,
    *,
    fetched_at: float | None,
    now: float,
) -> EnrichedCall:
    journey = notification.journey
    redacted = redact(joined.call)
    return EnrichedCall(
        account=notification.account,
        call_id=notification.call_id,
        version=journey.version + 1,
        complete=not missing,
        missing=missing,
        outcome=outcome_of(joined.call.get("endedReason")),
        call=joined.call,
        provenance=Provenance(joined.source, joined.from_webhook, redacted),
        timeline=Timeline(
            ended_at=iso(notification.ended_at),
            received_at=iso(journey.received_at),
            fetched_at=None if fetched_at is None else iso(fetched_at),
            emitted_at=iso(now),
            attempts=journey.attempt,
        ),
    )


def _waiting(answer: Answer, missing: tuple[str, ...], due_at: float | None, now: float) -> Retry | Hold:
    """Nothing goes out now. In a known outage one wait is enough, up to the deadline: asking in between is idle."""
    after = due_at - now if answer.is_outage and due_at is not None else answer.retry_after
    return _kind(answer)(_reason(answer, missing), after=after, due_at=due_at)


def _remembering(answer: Answer, missing: tuple[str, ...], first: Message, version: int) -> Retry | Hold:
    """An incomplete call goes out first, and what waits for the rest knows of it."""
    remember = {
        f"{OURS}version": version,
        f"{OURS}missing": ",".join(missing),
        f"{OURS}emitted": first.headers["ce-id"],
    }
    return _kind(answer)(_reason(answer, missing), after=answer.retry_after, first=(first,), remember=remember)


def _kind(answer: Answer) -> type[Retry | Hold]:
    return Hold if answer.is_shared else Retry


def _reason(answer: Answer, missing: tuple[str, ...]) -> str:
    return answer.trouble or f"not final yet: {', '.join(missing)} missing"
