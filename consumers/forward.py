"""What became of a call at each target, and what that makes of its delivery.

One delivery goes to several targets, each done once (the inbox), all at the same time. Then:

- Does any target want it again, the delivery is retried, at the soonest that any of them asked for. Whoever asked for
  more time is left alone until then by its own gate, without a post. It counts as an attempt unless all of them only
  hold, as while another process is at the call.
- A target's refusal for good never ends the others' tries, and is not posted again meanwhile: the copy that waits
  remembers it in a header. Only when no target is left to try it is the reason of the dead letter.
- The reason names every target that has not taken the call, whichever way the delivery is settled: also the letter of a
  delivery that was given up tells who refused it.
- An error nobody foresaw counts as a target that wants it again; where no other does, it is settled as the bug it is,
  with what the others said as a note.

A replay of the letter begins at attempt 1: it forgets the refusals, and the inbox passes over who has the call already.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from consumers.messages import OURS, Delivery, journey_of
from consumers.outcomes import Hold, Later, Reject, Retry
from consumers.quoting import quoted
from consumers.tolerant_json import NotJson, dump, parse

REFUSED: Final = f"{OURS}refused"
TAKEN: Final = range(200, 300)
AGAIN: Final = frozenset({408, 409, 423, 425, 429, *range(500, 600)})
"""409 and 423 are a conflict with another request, which another try may not meet."""
GONE: Final = 410
QUOTED_MAX: Final = 200
PRIVATE: Final = re.compile(r"\+?\d[\d ().-]{4,}\d|[^\s\"'<>]+@[^\s\"'<>]+")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How a target answered: the beginning of its body, and the seconds it asks us to wait."""

    status: int
    body: bytes = b""
    retry_after_s: float | None = None
    says_ok: bool = True


class Gone(Reject):
    """The target wants no more calls, this one and any other (410)."""


def judge(answer: Answer) -> None:
    """Whether a target took a call. Raises `Retry`, `Reject` or `Gone` if it did not."""
    status, words = answer.status, _quoted(answer.body)
    if status in TAKEN and answer.says_ok:
        return
    if status in TAKEN:
        raise Retry(f"answers {status}, but not the success it is set to tell{words}")
    if status in AGAIN:
        raise Retry(f"answers {status}{words}", after=answer.retry_after_s)
    if status == GONE:
        raise Gone("answered 410, it is gone: nothing is posted to it until a restart; take it out, or set its url")
    if status in range(300, 400):
        raise Reject(f"answers {status}, and redirects are not followed: set its url to the new address")
    raise Reject(f"answers {status}{words}")


def _quoted(body: bytes) -> str:
    """The beginning of a body, without numbers and addresses that it may tell of the call."""
    text = " ".join(body.decode("utf-8", "replace").split())
    return f": {quoted(PRIVATE.sub('…', text)[:QUOTED_MAX])}" if text else ""


def refused_before(delivery: Delivery, now: float) -> dict[str, str]:
    """Who refused this delivery for good at an earlier attempt, and why; nobody at the first, as after a replay."""
    told = delivery.headers.get(REFUSED)
    if journey_of(delivery, now).attempt == 1 or not isinstance(told, str):
        return {}
    try:
        refused = parse(told.encode())
    except NotJson:
        return {}
    return {str(name): str(reason) for name, reason in refused.items()} if isinstance(refused, dict) else {}


def conclude(said: Mapping[str, BaseException | None], refused: Mapping[str, str]) -> BaseException | None:
    """What to raise of a delivery, from what each target's post raised, and who `refused` it before; None: all is done.

    See the module for the order of things.
    """
    trouble = {name: error for name, error in said.items() if error is not None}
    refused = {**refused, **{name: error.reason for name, error in trouble.items() if isinstance(error, Reject)}}
    left = {name: error for name, error in trouble.items() if not isinstance(error, Reject)}
    told = "; ".join([*(f"{name} {_words(error)}" for name, error in left.items()), *_told(refused)])
    if retries := [error for error in left.values() if isinstance(error, Later)]:
        again = Hold if all(isinstance(error, Hold) for error in left.values()) else Retry
        return again(told, after=_soonest(retries), remember={REFUSED: dump(refused).decode()})
    for bug in left.values():
        bug.add_note(told)
        return bug
    return Reject(told) if refused else None


def _told(refused: Mapping[str, str]) -> list[str]:
    return [f"{name} {reason}" for name, reason in refused.items()]


def _soonest(retries: list[Later]) -> float | None:
    """None, which is by attempt, if one of them leaves it to that."""
    waits = [retry.after for retry in retries if retry.after is not None]
    return min(waits) if len(waits) == len(retries) else None


def _words(error: BaseException) -> str:
    return error.reason if isinstance(error, Later) else f"met an error: {type(error).__name__}: {quoted(str(error))}"
