"""How the life of a call is shown: on one screen, or as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec

from consumers.dead_letters import Letter
from consumers.ledger import Event
from consumers.prospects import Next
from consumers.story import AtVapi, Step, Story
from consumers.timestamps import iso

INSTANTS: Final = frozenset({"at", "endedAt"})


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about a call. `events` and `letters` are None where nobody answered, which `not_asked` tells.

    `ready` are the depths of the queues, `kept_at` (epoch s) the notifications that wait in the spool here.
    """

    events: tuple[Event, ...] | None
    letters: tuple[Letter, ...] | None
    ready: Mapping[str, int]
    kept_at: tuple[float, ...]
    at_vapi: tuple[AtVapi, ...]
    not_asked: tuple[str, ...]

    @property
    def was_asked(self) -> bool:
        """Whether anybody but this machine's own spool has answered."""
        answers = (self.events is not None, self.letters is not None, *(not each.trouble for each in self.at_vapi))
        return any(answers)


def document(call_id: str, stories: Sequence[Story], findings: Findings) -> dict[str, Any]:
    """All of it as JSON has it, instants as ISO 8601."""
    told: dict[str, Any] = {
        "callId": call_id,
        "accounts": msgspec.to_builtins(stories),
        "atVapi": msgspec.to_builtins(findings.at_vapi),
        "inSpoolSince": list(map(iso, findings.kept_at)),
        "ready": dict(findings.ready),
        "notAsked": list(findings.not_asked),
    }
    return _with_instants(told)  # type: ignore[no-any-return]  # of a dict it makes a dict


def _with_instants(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _instant(key, item) for key, item in value.items()}
    return [_with_instants(item) for item in value] if isinstance(value, list | tuple) else value


def _instant(key: str, value: Any) -> Any:
    return iso(value) if key in INSTANTS and isinstance(value, float) else _with_instants(value)


def page(call_id: str, stories: Sequence[Story], findings: Findings) -> str:
    """The story of a call in each account that has one, on one screen."""
    lines: list[str] = []
    for story in stories:
        lines += [*_head(story), "", *_steps(story.steps, findings.ready), "", *_nexts(story.next, findings.ready), ""]
    if not stories:
        lines += [f"call {call_id}", ""]
    return "".join(f"{line}\n" for line in (*lines, *_elsewhere(findings)))


def _head(story: Story) -> Iterator[str]:
    yield f"call {story.call_id}  account {story.account}"
    ended = f"ended {iso(story.ended_at)}" if story.ended_at is not None else ""
    yield "  ".join(filter(None, (ended, story.outcome))) or "nothing of it has gone out"


def _steps(steps: Sequence[Step], ready: Mapping[str, int]) -> Iterator[str]:
    for _, run in groupby(steps, key=lambda step: (step.what, step.told, step.queues)):
        step, *again = run
        yield f"  {iso(step.at)}  {step.what:<9}  {step.told}"
        if again:
            yield f"  {iso(again[-1].at)}  {'':<9}  the same again, {len(again)} times till here"
        if step.queues:
            yield f"{'':39}to {', '.join(_deep(queue, ready) for queue in step.queues)}"
            yield f"{'':39}ce-id {step.event_id}"


def _nexts(nexts: Sequence[Next], ready: Mapping[str, int]) -> Iterator[str]:
    for each in nexts:
        depth = _deep(each.lies_in, ready)
        yield f"  next in {each.queue}: {each.told.replace(each.lies_in, depth)}"
        yield from (f"    {line.replace(each.lies_in, depth)}" for line in each.then)
        if each.mend:
            yield f"    {'replay it with' if each.state == 'dead' else 'look with'}: {each.mend}"


def _deep(queue: str, ready: Mapping[str, int]) -> str:
    return f"{queue} ({ready[queue]:,} ready)" if ready.get(queue) else queue


def _elsewhere(findings: Findings) -> Iterator[str]:
    for at in findings.kept_at:
        yield f"  in the spool here since {iso(at)}: it goes on when the broker takes it"
    for each in findings.at_vapi:
        yield f"  Vapi, account {each.account}: {_at_vapi(each)}"
    for trouble in findings.not_asked:
        yield f"  not asked: {trouble}"


def _at_vapi(at: AtVapi) -> str:
    if at.trouble:
        return f"could not be asked: {at.trouble}"
    if not at.is_known:
        return "no call of this id"
    ended = f" at {iso(at.ended_at)}" if at.ended_at is not None else ""
    return f"{at.status or 'no status'}{ended}{f', {at.ended_reason}' if at.ended_reason else ''}"


def unknown(call_id: str, findings: Findings) -> str:
    """One sentence about a call that is known nowhere here, and what Vapi says of it."""
    knowing = [each for each in findings.at_vapi if each.is_known]
    told = [f"Nothing is known here of call {call_id}{_verdict(knowing)}"]
    return "\n".join([*told, *_elsewhere(findings)])


def _verdict(knowing: Sequence[AtVapi]) -> str:
    if not knowing:
        return "."
    if all(each.ended_at is None for each in knowing):
        return ", which has not ended yet: its report comes when it has."
    return ", whose report never came in, as it seems: `aftercall sweep --once` finds such calls and sends them in."
