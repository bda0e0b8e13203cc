"""When something is told: once for many, again now and then, and once when it is over."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from consumers.alerts.groups import State, What, due, told, watch
from consumers.alerts.rounds import Look, Watch
from consumers.alerts.rules import Rule
from consumers.alerts.table import Alerts
from consumers.alerts.windows import NOTHING, Hearing, Measured, Sight, sight_of_new
from tests.unit.alerts import AT, alerts, rule

PACE = Alerts(group_wait_s=30, repeat_every_s=3600, over_after_s=900)
HEARING = Hearing(AT - 86400)
QUIET = State(watched_since=AT)


class Telling:
    """One rule, account and target, and a clock."""

    def __init__(self, of: Rule | None = None) -> None:
        self.rule = of or rule()
        self.state, self.now = QUIET, AT
        self.said: list[tuple[float, What, int]] = []

    def pass_(
        self, seconds: float, sight: Sight = NOTHING, hearing: Hearing = HEARING, *, is_taken: bool = True
    ) -> None:
        """Time passes, then a look, and a message if one is due and the target takes it."""
        self.now += seconds
        self.state = watch(self.state, sight, self.rule, PACE, self.now)
        what = due(self.state, PACE, hearing, self.now)
        if what is not None and is_taken:
            self.said.append((self.now - AT, what, self.state.count))
            self.state = told(self.state, what, self.now)


def test_a_storm_is_one_message_when_it_has_gathered_and_one_when_it_is_over() -> None:
    telling = Telling()
    for _ in range(50):
        telling.pass_(1, sight_of_new(100))
    for _ in range(20):
        telling.pass_(60)

    assert telling.said == [(31, "raised", 3100), (950, "over", 5000)]
    assert telling.state == QUIET


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    telling = Telling()
    telling.pass_(0, sight_of_new(5))
    telling.pass_(-86400, sight_of_new(5))
    telling.pass_(30, sight_of_new(5))
    assert [what for _, what, _ in telling.said] == ["raised"]

    telling.pass_(-86400, sight_of_new(5), Hearing(None))
    telling.pass_(3600, sight_of_new(5), Hearing(None))
    telling.pass_(900, hearing=Hearing(telling.now))
    assert [what for _, what, _ in telling.said] == ["raised", "reminded", "over"]


def test_while_it_goes_on_it_is_told_again_now_and_then() -> None:
    telling = Telling()
    for _ in range(300):
        telling.pass_(60, sight_of_new(1))

    assert [what for _, what, _ in telling.said] == ["raised", *["reminded"] * 4]
    assert [at - before for (before, *_), (at, *_) in pairwise(telling.said)] == [3600] * 4


def test_nobody_is_reminded_of_what_does_not_go_on() -> None:
    telling = Telling()
    telling.pass_(0, sight_of_new(3))
    for _ in range(40):
        telling.pass_(300, hearing=Hearing(None))

    assert [what for _, what, _ in telling.said] == ["raised"]


def test_quiet_counts_only_while_calls_would_be_heard_of() -> None:
    telling = Telling()
    telling.pass_(0, sight_of_new(1))
    telling.pass_(60)
    telling.pass_(5000, hearing=Hearing(None))
    telling.pass_(800, hearing=Hearing(telling.now))
    assert [what for _, what, _ in telling.said] == ["raised"]

    telling.pass_(100, hearing=Hearing(telling.now - 800))

    assert [what for _, what, _ in telling.said] == ["raised", "over"]


def test_what_could_not_be_told_is_told_later_with_all_that_came_meanwhile() -> None:
    telling = Telling()
    for _ in range(100):
        telling.pass_(60, sight_of_new(1), is_taken=False)
    for _ in range(100):
        telling.pass_(60, is_taken=False)
    telling.pass_(60)
    telling.pass_(60)

    assert [(what, count) for _, what, count in telling.said] == [("raised", 100), ("over", 100)]


def on(value: float) -> Sight:
    return Sight(is_on=True, value=value, calls=40)


def test_a_window_that_is_soon_within_its_bound_again_is_not_told() -> None:
    telling = Telling(rule(measure="share", above=0.1))
    telling.pass_(0, on(0.2))
    telling.pass_(29, on(0.2))
    telling.pass_(1, Sight(is_on=False, value=0.05, calls=40))
    telling.pass_(10, on(0.2))

    assert telling.said == []


def test_a_window_that_nobody_could_be_told_of_is_told_though_it_is_within_its_bound_again() -> None:
    telling = Telling(rule(measure="share", above=0.1))
    telling.pass_(0, on(0.2))
    telling.pass_(60, on(0.3), is_taken=False)
    telling.pass_(60)

    assert [what for _, what, _ in telling.said] == ["raised"]


@pytest.mark.parametrize(("bound", "worst"), [({"above": 0.1}, 0.4), ({"below": 0.9}, 0.2)])
def test_the_worst_of_a_window_is_kept(bound: dict[str, float], worst: float) -> None:
    telling = Telling(rule(measure="share", **bound))
    for value in (0.3, 0.2, 0.4, 0.35):
        telling.pass_(1, on(value))

    assert telling.state.value == worst


STEPS = st.lists(
    st.tuples(
        st.sampled_from([1, 10, 31, 400, 901, 3601]),  # seconds that pass
        st.sampled_from([0, 0, 0, 1, 7]),  # calls that come
        st.booleans(),  # whether the target takes a message
        st.sampled_from([None, 0.0]),  # deaf, or hearing since long ago
    ),
    max_size=60,
)


@given(STEPS)
def test_however_calls_come_each_is_in_one_group_that_is_raised_once_and_over_once(steps: list[Any]) -> None:
    telling = Telling()
    for seconds, count, is_taken, since in steps:
        telling.pass_(seconds, sight_of_new(count), Hearing(since), is_taken=is_taken)

    words = [what for _, what, _ in telling.said]
    raised_and_over = [what for what in words if what != "reminded"]
    assert raised_and_over == [("raised", "over")[index % 2] for index in range(len(raised_and_over))]
    assert all(before != "over" for before, what in pairwise(words) if what in ("reminded", "over"))
    ended = sum(count for _, what, count in telling.said if what == "over")
    assert ended + telling.state.count == sum(count for _, count, *_ in steps)
    assert all(
        after - before >= 3600 for (before, *_), (after, what, _) in pairwise(telling.said) if what == "reminded"
    )


# A round over rules, accounts and targets

FAILURES, SILENCE = rule(), rule(name="silence", result=(), measure="calls", below=1)


def round_(states: Any, look: Look, hearing: Hearing = HEARING, now: float = AT, **known: Any) -> Any:
    given: dict[str, Any] = {"targets": lambda _: ["", "ops"], "accounts": ["default"]}
    return Watch(alerts(FAILURES, SILENCE), **(given | known)).after(states, look, hearing, now)


def test_each_account_and_target_has_a_state_of_its_own_where_there_is_something_to_watch() -> None:
    after = round_({}, Look(new={("failed calls", "acme"): 3}, measured={("silence", "acme"): Measured(3, 3)}))

    assert set(after) == {
        ("failed calls", "acme", ""),
        ("failed calls", "acme", "ops"),
        *(("silence", account, target) for account in ("acme", "default") for target in ("", "ops")),
    }
    assert after["failed calls", "acme", "ops"].count == 3


def test_silence_is_noticed_in_an_account_of_which_nothing_ever_came() -> None:
    first = round_({}, Look({}, {}))
    later = round_(first, Look({}, {}), now=AT + 901)

    assert first["silence", "default", "ops"] == State(watched_since=AT)
    assert later["silence", "default", "ops"].since == AT + 901


def test_what_goes_on_is_not_forgotten_though_its_account_is_not_known_here() -> None:
    raised = State(watched_since=AT, since=AT, count=1, last_at=AT, told_at=AT)

    assert round_({("failed calls", "acme", ""): raised}, Look({}, {}))["failed calls", "acme", ""] == raised


def test_what_nobody_asks_for_any_more_is_left_out() -> None:
    raised = State(watched_since=AT, since=AT, count=1, last_at=AT, told_at=AT)
    before = {("old rule", "default", ""): raised, ("failed calls", "default", "gone"): raised}

    assert not set(before) & set(round_(before, Look({}, {})))


def test_a_rule_of_some_accounts_watches_no_others() -> None:
    after = Watch(alerts(replace(SILENCE, accounts=("acme",))), lambda _: [""], ["default"])

    assert set(after.after({}, Look({}, {}), HEARING, AT)) == {("silence", "acme", "")}
