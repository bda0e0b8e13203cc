"""What the calls of a window come to, and whether a rule is raised by it."""

import msgspec

from consumers.alerts.rules import Rule


class Measured(msgspec.Struct, frozen=True):
    """A window's calls, how many of them match, and the sum of what those add."""

    calls: int = 0
    matched: int = 0
    total: float = 0.0


class Hearing(msgspec.Struct, frozen=True):
    """Since when (epoch seconds) every call is heard of as it comes; None while it is not, as with a backlog."""

    since: float | None


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a rule and an account shows.

    Per call: `new` ones since the last look. Over a window: whether it `is_on` now, with the measure and of how many.
    """

    is_on: bool
    new: int = 0
    value: float | None = None
    calls: int = 0


NOTHING = Sight(is_on=False)


def sight_of_new(count: int) -> Sight:
    """What so many new calls are to a rule per call."""
    return Sight(is_on=count > 0, new=count)


def sight_of_window(rule: Rule, measured: Measured, *, watched_s: float, hearing: Hearing) -> Sight:
    """What the calls of a window are to its rule, which has been watched for `watched_s` seconds.

    Too few calls say something only if all would have been heard of: through the whole window, without a backlog.
    """
    value = value_of(rule, measured)
    is_above = value is not None and rule.above is not None and value > rule.above
    is_below = value is not None and rule.below is not None and value < rule.below
    is_heard = hearing.since is not None and watched_s >= (rule.window_s or 0)
    return Sight(is_on=is_above or (is_below and is_heard), value=value, calls=measured.calls)


def value_of(rule: Rule, measured: Measured) -> float | None:
    """The rule's measure; None if the window has too few calls to judge."""
    few = rule.min_calls if rule.measure in ("share", "sum") or rule.min_calls > 1 else 0
    if measured.calls < few:
        return None
    match rule.measure:
        case "share":
            return measured.matched / measured.calls
        case "sum":
            return measured.total
        case "calls":
            return float(measured.calls)
        case _:
            return float(measured.matched)


def is_worse(rule: Rule, value: float | None, than: float | None) -> bool:
    """Whether a measure lies further beyond the bound than another."""
    if value is None or than is None:
        return value is not None
    return value < than if rule.below is not None and value < rule.below else value > than
