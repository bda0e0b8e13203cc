"""The rules as they are written, and what is said of those that are wrong."""

from pathlib import Path

import pytest

from consumers.alerts.rules import Rule, conditions_of
from consumers.alerts.table import FAILED_CALLS, KEEP_S, Alerts
from tests.unit.alerts import condition, rule
from worker.settings import Settings, SettingsError, load


def read(folder: Path, text: str) -> Settings:
    (folder / "aftercall.toml").write_text(text)
    return load({}, folder)


def problems_of(folder: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as error:
        read(folder, text)
    return list(error.value.problems)


def wrong(folder: Path, *lines: str) -> list[str]:
    """What is said of a rule of these lines, the first of which is line 3."""
    return problems_of(folder, "\n".join(("[[alerts.rules]]", 'name = "one"', *lines)))


def test_without_rules_each_failed_call_is_told(tmp_path: Path) -> None:
    assert read(tmp_path, "").alerts.in_force == (FAILED_CALLS,)
    assert conditions_of(FAILED_CALLS) == (condition("outcome.result", one_of=("failed",)),)


def test_the_short_keys_stand_for_conditions(tmp_path: Path) -> None:
    text = """
        [alerts]
        group_wait_s = 5
        [[alerts.rules]]
        name = "everything"
        accounts = ["default"]
        to = ["ops"]
        when = [{path = "call.metadata.vip", equals = true}]
        result = ["failed", "unknown"]
        reason = "pipeline-error"
        cost_above = 0
        duration_above_s = 10
        duration_below_s = 600.5
        latency_above_ms = 1500
        success_evaluation = false
        words = ["refund", "lawyer"]
        path = "call.analysis.structuredData.angry"
        value = true
        """
    settings = read(tmp_path, text)

    assert settings.alerts.group_wait_s == 5
    assert conditions_of(settings.alerts.rules[0]) == (
        condition("call.metadata.vip", equals=True),
        condition("outcome.result", one_of=("failed", "unknown")),
        condition("outcome.reason", one_of=("pipeline-error",)),
        condition("facts.cost", above=0.0),
        condition("facts.duration_s", above=10.0),
        condition("facts.duration_s", below=600.5),
        condition("facts.turn_latency_ms", above=1500.0),
        condition("facts.success_evaluation", one_of=(False,)),
        condition("facts.transcript", contains=("refund", "lawyer")),
        condition("call.analysis.structuredData.angry", equals=True),
    )


def test_a_window_of_each_measure_can_be_written(tmp_path: Path) -> None:
    text = """
        [[alerts.rules]]
        name = "share"
        result = "failed"
        measure = "share"
        window_s = 900
        above = 0.1
        min_calls = 20
        [[alerts.rules]]
        name = "sum"
        measure = "sum"
        of = "facts.cost"
        window_s = 86400
        above = 500
        [[alerts.rules]]
        name = "count"
        reason = "voicemail"
        measure = "count"
        window_s = 3600
        above = 50
        [[alerts.rules]]
        name = "silence"
        measure = "calls"
        window_s = 7200
        below = 1
        """
    assert [each.measure for each in read(tmp_path, text).alerts.rules] == ["share", "sum", "count", "calls"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("cost_over = 1",), "line 3: alerts.rules[0].cost_over: this is no key of that table"),
        (('cost_above = "much"',), "line 3: alerts.rules[0].cost_above: Expected `float | null`, got `str`"),
        (("window_s = 900",), "line 3: alerts.rules[0].window_s: a window needs a measure: share, count, sum or calls"),
        (("cost_above = 1", "above = 1"), "line 4: alerts.rules[0].above: a window needs a measure"),
        ((), "line 1: alerts.rules[0]: it would tell of every call: give it a condition, or a measure over a window"),
        (('measure = "calls"', "below = 1"), "line 3: alerts.rules[0].measure: a measure needs a window"),
        (('measure = "calls"', "window_s = 9"), "line 3: alerts.rules[0].measure: a measure needs a bound"),
        (
            ('measure = "share"', "window_s = 9", "above = 0.1"),
            "line 3: alerts.rules[0].measure: the share of which calls? give the rule a condition",
        ),
        (
            ('measure = "share"', "window_s = 9", 'result = "failed"', "above = 10"),
            "line 6: alerts.rules[0].above: a share is from 0 to 1: 10 % is 0.1",
        ),
        (
            ('measure = "calls"', "window_s = 9", "below = 1", 'result = "failed"'),
            "line 3: alerts.rules[0].measure: `calls` are all calls: `count` counts those",
        ),
        (
            ('measure = "sum"', "window_s = 9", "above = 1"),
            "line 3: alerts.rules[0].measure: `sum` and `of` go together",
        ),
        (
            ('measure = "sum"', "window_s = 9", "above = 1", 'of = "facts.costs"'),
            "line 6: alerts.rules[0].of: 'facts.costs': facts has no 'costs': did you mean cost?",
        ),
        (
            ('reason = "pipeline-eror"',),
            "line 3: alerts.rules[0].reason: 'pipeline-eror' is no class of reasons: did you",
        ),
        (
            ('reason = "purple"',),
            "line 3: alerts.rules[0].reason: 'purple' is no class of reasons: there are voicemail, ",
        ),
        (('path = "call.cost"', 'result = "failed"'), "line 3: alerts.rules[0].path: `path` and `value` go together"),
        (("value = 1",), "line 3: alerts.rules[0].value: `path` and `value` go together"),
        (
            ('path = "cal.cost"', "value = 1"),
            "line 3: alerts.rules[0].path: 'cal.cost' begins with 'cal': did you mean call?",
        ),
        (('words = ["refund", ""]',), "line 3: alerts.rules[0].words: an empty text is in every transcript"),
        (
            ('when = [{path = "facts.cost"}]',),
            "line 3: alerts.rules[0].when[0]: compares with nothing",
        ),
        (('result = "faild"',), "line 3: alerts.rules[0].result: Invalid enum value 'faild'"),
        (('result = "failed"', 'name2 = ""'), "line 4: alerts.rules[0].name2: this is no key of that table"),
    ],
)
def test_a_rule_that_is_wrong_is_told_with_its_line(tmp_path: Path, lines: tuple[str, ...], told: str) -> None:
    (problem,) = wrong(tmp_path, *lines)

    assert problem.startswith(f"aftercall.toml, {told}")


def test_a_name_belongs_to_one_rule(tmp_path: Path) -> None:
    one = '[[alerts.rules]]\nname = "one"\nresult = "failed"\n'

    assert problems_of(tmp_path, one + one) == [
        "aftercall.toml, line 5: alerts.rules[1].name: 'one' is the name of an earlier rule: each has its own"
    ]


def test_an_account_that_is_not_served_is_told(tmp_path: Path) -> None:
    (problem,) = wrong(tmp_path, 'result = "failed"', 'accounts = ["acme"]')

    assert problem == "[alerts], rule 'one': accounts: acme: there are default"


def test_a_call_is_remembered_for_twice_its_window_and_a_week_at_least() -> None:
    assert Alerts().keep_s == KEEP_S
    assert Alerts(rules=(Rule(name="month", measure="calls", window_s=30 * 86400, below=1),)).keep_s == 60 * 86400


def test_a_rule_is_about_its_accounts_and_without_any_about_all() -> None:
    assert rule().is_about("acme")
    assert rule(accounts=("acme",)).is_about("acme")
    assert not rule(accounts=("acme",)).is_about("default")
