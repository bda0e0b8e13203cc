"""What is told, in words: what happened, to which calls, why, and the commands to look closer.

Nothing that was said in a call is in it, and no number: call ids, reasons, quantities, and the rule's own conditions.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from consumers.alerts.groups import State, What
from consumers.alerts.rules import Rule, conditions_of, each_of
from consumers.conditions import COMPARISONS, Condition
from consumers.timestamps import iso


class Example(msgspec.Struct, frozen=True):
    """A call to show, and why it is one."""

    call_id: str
    told: str


class Announcement(msgspec.Struct, frozen=True):
    """A message to somebody."""

    what: What
    title: str
    body: str


def announce(what: What, rule: Rule, account: str, state: State, examples: Sequence[Example] = ()) -> Announcement:
    """The words for a group: `state` is what is known of it, `examples` are calls of it."""
    lines = (
        *_happened(what, rule, account, state),
        *_shown(rule, state, examples),
        "",
        "To look closer:",
        *(f"  {command}" for command in _commands(what, rule, account, state, examples)),
    )
    return Announcement(what, f"{_title(what, rule, state)} (account {account})", "\n".join(lines))


def _title(what: What, rule: Rule, state: State) -> str:
    begin = {"raised": "", "reminded": "still: ", "over": "over: "}[what]
    return f"{rule.name}: {begin}{_worst(what, rule)}{_measured(rule, state)}"


def _happened(what: What, rule: Rule, account: str, state: State) -> Iterator[str]:
    begin = {"raised": "", "reminded": "It goes on. ", "over": "It is over. "}[what]
    yield f"{begin}Account {account}: {_worst(what, rule)}{_whole(rule, state)}."
    since = _moment(state.since or state.last_at)
    yield f"From {since} until {_moment(state.last_at)}." if what == "over" else f"Since {since}{_more(what, state)}."


def _worst(what: What, rule: Rule) -> str:
    return "" if what == "raised" or rule.measure is None else "at worst "


def _more(what: What, state: State) -> str:
    new = state.count - state.told_count
    return f"; {new:,} of them since it was last told" if what == "reminded" and state.count else ""


def _whole(rule: Rule, state: State) -> str:
    """E.g. `23.0% of 140 calls, for which outcome.result is failed, within 15 min: above 10.0%`."""
    which = " and ".join(map(_condition, conditions_of(rule)))
    told = f"{_measured(rule, state)}, for which {which}" if which else _measured(rule, state)
    if rule.measure is None:
        return told
    return f"{told}{',' * bool(which)} within {_duration(rule.window_s or 0)}: {_bound(rule, state)}"


def _measured(rule: Rule, state: State) -> str:
    match rule.measure:
        case None:
            return _calls(state.count)
        case "share":
            return f"{_amount(rule, state.value)} of {_calls(state.calls)}"
        case "sum":
            return f"{rule.of} adds up to {_amount(rule, state.value)} in {_calls(state.calls)}"
        case _:
            return _calls(round(state.value or 0))


def _bound(rule: Rule, state: State) -> str:
    is_below = rule.below is not None and (state.value or 0) < rule.below
    return f"below {_amount(rule, rule.below)}" if is_below else f"above {_amount(rule, rule.above)}"


def _amount(rule: Rule, value: float | None) -> str:
    if rule.measure == "share":
        return f"{value or 0:.1%}"
    return f"{value or 0:,.2f}" if rule.measure == "sum" else f"{value or 0:,g}"


def _condition(condition: Condition) -> str:
    told = ((name, getattr(condition, name)) for name in COMPARISONS)
    return ", ".join(f"{condition.path} {_comparison(name, wanted)}" for name, wanted in told if wanted is not UNSET)


def _comparison(name: str, wanted: Any) -> str:
    if name == "is_set":
        return "is set" if wanted else "is not set"
    verb = {"equals": "is", "not_equals": "is not", "one_of": "is", "contains": "has"}.get(name, f"is {name}")
    return f"{verb} {' or '.join(map(str, wanted)) if isinstance(wanted, tuple) else wanted}"


def _shown(rule: Rule, state: State, examples: Sequence[Example]) -> Iterator[str]:
    if not examples:
        return
    yield ""
    yield from (f"{example.call_id}: {example.told}" for example in examples)
    if rule.measure is None and (more := state.count - len(examples)) > 0:
        yield f"and {more:,} more"


def _commands(what: What, rule: Rule, account: str, state: State, examples: Sequence[Example]) -> Iterator[str]:
    if examples:
        yield f"aftercall explain {examples[0].call_id}"
    elif what != "over":  # too few calls rather than wrong ones: something on their way
        yield from ("aftercall doctor", "aftercall dead groups")
    chosen = "".join(f" --{key} {value}" for key in ("result", "reason") for value in each_of(getattr(rule, key)))
    back_s = rule.window_s or 60  # a call counts from when it went out, and is listed by when it ended
    yield f"aftercall calls list --account {account}{chosen} --since {_moment((state.since or 0) - back_s)}"


def _calls(count: int) -> str:
    return "no calls" if count == 0 else f"{count:,} call{'s' * (count != 1)}"


def _moment(at: float) -> str:
    return f"{iso(at)[:19]}Z"


def _duration(seconds: int) -> str:
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds % unit_s == 0:
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} s"
