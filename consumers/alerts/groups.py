"""When something is told: calls that belong together are one group, raised once, reminded of, and over once.

    quiet ── a first call, or a window beyond its bound ──▶ waiting ── group_wait_s ──▶ raised ── over_after_s ──▶ quiet
                                                                          ↺ reminded at most every repeat_every_s

`watch` takes in what a look shows; `due` says what is to be told now; `told` is the state once that was told, which
only then counts. So what cannot be told is due until it can, and a group that ended meanwhile is still raised first.
"""

from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from consumers.alerts.rules import Rule
from consumers.alerts.table import Alerts
from consumers.alerts.windows import Hearing, Sight, is_worse

What = Literal["raised", "reminded", "over"]
INSTANTS: Final = ("watched_since", "since", "last_at", "told_at")


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How far the telling of one rule and account has come, to one target. Instants are epoch seconds.

    `since` None: quiet. `told_at` None: nothing was told of this group yet. `value` and `calls` are the measure at its
    worst, and of how many calls.
    """

    watched_since: float
    since: float | None = None
    last_at: float = 0.0
    count: int = 0
    value: float | None = None
    calls: int = 0
    told_at: float | None = None
    told_count: int = 0


def watch(state: State, sight: Sight, rule: Rule, pace: Alerts, now: float) -> State:
    """The state after a look. A window that is back within its bound before it was time to tell was none."""
    state = _by_now(state, now)
    if sight.is_on:
        begun = state if state.since is not None else replace(state, since=now)
        return _worst(replace(begun, last_at=now, count=begun.count + sight.new), sight, rule)
    is_flicker = state.count == 0 and state.told_at is None and not _was_due(state, pace)
    return State(watched_since=state.watched_since) if is_flicker else state


def _by_now(state: State, now: float) -> State:
    """The state without instants that are yet to come, which a clock that was set back would have us wait for."""
    told = ((name, getattr(state, name)) for name in INSTANTS)
    return replace(state, **{name: now for name, at in told if at is not None and at > now})


def _was_due(state: State, pace: Alerts) -> bool:
    return state.since is not None and state.last_at - state.since >= pace.group_wait_s


def _worst(state: State, sight: Sight, rule: Rule) -> State:
    is_new_worst = is_worse(rule, sight.value, state.value)
    return replace(state, value=sight.value, calls=sight.calls) if is_new_worst else state


def due(state: State, pace: Alerts, hearing: Hearing, now: float) -> What | None:
    """What is to be told now, if anything. That it is over needs ears: quiet counts only while calls are heard of."""
    if state.since is None:
        return None
    if state.told_at is None:
        return "raised" if now - state.since >= pace.group_wait_s else None
    if hearing.since is not None and now - max(state.last_at, hearing.since) >= pace.over_after_s:
        return "over"
    goes_on = state.last_at > state.told_at
    return "reminded" if goes_on and now - state.told_at >= pace.repeat_every_s else None


def told(state: State, what: What, now: float) -> State:
    """The state after something was told."""
    if what == "over":
        return State(watched_since=state.watched_since)
    return replace(state, told_at=now, told_count=state.count)
