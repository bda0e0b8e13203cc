"""What is told: what happened, to which calls, why, and where to look; nothing that was said, and no number."""

from typing import Any

from consumers.alerts.groups import State, What
from consumers.alerts.rules import Rule
from consumers.alerts.texts import Announcement, Example, announce
from tests.unit.alerts import AT, condition, rule

EXAMPLES = [
    Example("call-3", "pipeline-error-openai-llm-failed"),
    Example("call-2", "worker-shutdown, facts.cost 0.25"),
    Example("call-1", "worker-shutdown"),
]


def say(what: What, of: Rule, examples: Any = (), **state: Any) -> Announcement:
    given = {"watched_since": AT - 86400, "since": AT - 60, "last_at": AT - 10}
    return announce(what, of, "acme", State(**(given | state)), examples)


def test_a_storm_is_told_with_its_count_and_examples_and_what_to_do() -> None:
    told = say("raised", rule(), EXAMPLES, count=5000)

    assert told.title == "failed calls: 5,000 calls (account acme)"
    assert told.body.splitlines() == [
        "Account acme: 5,000 calls, for which outcome.result is failed.",
        "Since 2027-01-15T07:59:00Z.",
        "",
        "call-3: pipeline-error-openai-llm-failed",
        "call-2: worker-shutdown, facts.cost 0.25",
        "call-1: worker-shutdown",
        "and 4,997 more",
        "",
        "To look closer:",
        "  aftercall explain call-3",
        "  aftercall calls list --account acme --result failed --since 2027-01-15T07:58:00Z",
    ]


def test_a_reminder_tells_what_is_new_and_the_end_tells_the_total() -> None:
    reminded = say("reminded", rule(), EXAMPLES, count=6200, told_count=5000)
    over = say("over", rule(), count=6500, told_count=6200)

    assert reminded.title == "failed calls: still: 6,200 calls (account acme)"
    assert reminded.body.splitlines()[:2] == [
        "It goes on. Account acme: 6,200 calls, for which outcome.result is failed.",
        "Since 2027-01-15T07:59:00Z; 1,200 of them since it was last told.",
    ]
    assert over.title == "failed calls: over: 6,500 calls (account acme)"
    assert over.body.splitlines() == [
        "It is over. Account acme: 6,500 calls, for which outcome.result is failed.",
        "From 2027-01-15T07:59:00Z until 2027-01-15T07:59:50Z.",
        "",
        "To look closer:",
        "  aftercall calls list --account acme --result failed --since 2027-01-15T07:58:00Z",
    ]


def test_the_command_lists_the_calls_that_the_rule_is_about() -> None:
    told = say("raised", rule(result=("failed", "unknown"), reason="voicemail"), EXAMPLES, count=3)

    assert "calls list --account acme --result failed --result unknown --reason voicemail --since" in told.body


def test_one_call_is_one_call() -> None:
    told = say("raised", rule(), EXAMPLES[:1], count=1)

    assert told.title == "failed calls: 1 call (account acme)"
    assert "more" not in told.body


def test_a_share_is_told_with_its_window_and_bound() -> None:
    told = say("raised", rule(name="many failures", measure="share", above=0.1), EXAMPLES, value=0.23, calls=140)

    assert told.title == "many failures: 23.0% of 140 calls (account acme)"
    assert told.body.splitlines()[0] == (
        "Account acme: 23.0% of 140 calls, for which outcome.result is failed, within 15 min: above 10.0%."
    )


def test_of_a_window_that_is_over_the_worst_is_told() -> None:
    told = say("over", rule(name="many failures", measure="share", above=0.1), value=0.5, calls=140)

    assert told.title == "many failures: over: at worst 50.0% of 140 calls (account acme)"
    assert told.body.startswith("It is over. Account acme: at worst 50.0% of 140 calls, for which")


def test_a_sum_is_told_with_what_was_summed() -> None:
    dear = rule(name="dear", result=(), measure="sum", of="facts.cost", window_s=86400, above=500)
    told = say("raised", dear, EXAMPLES, value=1234.5, calls=9000)

    assert told.title == "dear: facts.cost adds up to 1,234.50 in 9,000 calls (account acme)"
    assert told.body.splitlines()[0].endswith(" within 1 d: above 500.00.")


def test_of_silence_the_way_here_is_to_be_looked_at() -> None:
    told = say("raised", rule(name="silence", result=(), measure="calls", window_s=7200, below=1), value=0, calls=0)

    assert told.title == "silence: no calls (account acme)"
    assert told.body.splitlines() == [
        "Account acme: no calls within 2 h: below 1.",
        "Since 2027-01-15T07:59:00Z.",
        "",
        "To look closer:",
        "  aftercall doctor",
        "  aftercall dead groups",
        "  aftercall calls list --account acme --since 2027-01-15T05:59:00Z",
    ]


def test_conditions_are_told_in_words() -> None:
    when = (
        condition("call.status", equals="ended", not_equals="queued"),
        condition("facts.cost", above=0.5, below=2),
        condition("facts.transcript", contains=("refund", "lawyer")),
        condition("call.analysis.summary", is_set=False),
        condition("facts.customer_number", is_set=True),
    )
    told = say("raised", rule(result=(), when=when), EXAMPLES, count=1)

    assert told.body.splitlines()[0] == (
        "Account acme: 1 call, for which call.status is ended, call.status is not queued and facts.cost is above 0.5,"
        " facts.cost is below 2 and facts.transcript has refund or lawyer and call.analysis.summary is not set"
        " and facts.customer_number is set."
    )
