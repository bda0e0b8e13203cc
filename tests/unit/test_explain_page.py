from typing import Any

from consumers.prospects import Next
from consumers.story import AtVapi, Step, Story
from worker.cli.explain.page import Findings, document, page, unknown

AT = 1_800_000_000.0
FINDINGS = Findings(events=(), letters=(), ready={}, kept_at=(), at_vapi=(), not_asked=())


def findings(**changes: Any) -> Findings:
    given = {name: getattr(FINDINGS, name) for name in FINDINGS.__struct_fields__}
    return Findings(**(given | changes))


def story(*steps: Step, upcoming: tuple[Next, ...] = ()) -> Story:
    return Story(account="acme", call_id="c-1", outcome="", ended_at=AT, steps=steps, next=upcoming)


def held(at: float) -> Step:
    return Step(at=at, what="held", told="Vapi answers 503")


def test_the_same_again_and_again_is_two_lines() -> None:
    told = page("c-1", [story(*(held(AT + number) for number in range(40)))], FINDINGS)

    assert told.splitlines()[3:6] == [
        "  2027-01-15T08:00:00.000Z  held       Vapi answers 503",
        "  2027-01-15T08:00:39.000Z             the same again, 39 times till here",
        "",
    ]


def test_what_is_next_names_the_depth_of_the_place_and_the_command() -> None:
    upcoming = Next(
        queue="calls.crm",
        state="dead",
        told="it is dead letter x in calls.crm.dead",
        then=("rejected: no; not ever",),
        lies_in="calls.crm.dead",
        mend="do it",
    )

    told = page("c-1", [story(upcoming=(upcoming,))], findings(ready={"calls.crm.dead": 1200}))

    assert told.splitlines()[4:7] == [
        "  next in calls.crm: it is dead letter x in calls.crm.dead (1,200 ready)",
        "    rejected: no; not ever",
        "    replay it with: do it",
    ]


def test_a_call_that_waits_in_the_spool_alone_is_known() -> None:
    assert "in the spool here since 2027-01-15T08:00:00.000Z" in page("c-1", [], findings(kept_at=(AT,)))


def test_a_call_unknown_here_is_told_by_what_vapi_says() -> None:
    known = AtVapi(account="acme", is_known=True, status="ended", ended_at=AT)

    assert unknown("c-1", FINDINGS) == "Nothing is known here of call c-1."
    assert "`aftercall sweep --once`" in unknown("c-1", findings(at_vapi=(known,)))
    running = AtVapi(account="acme", is_known=True, status="in-progress")
    assert "has not ended yet" in unknown("c-1", findings(at_vapi=(running,)))


def test_instants_are_iso_in_json() -> None:
    told = document("c-1", [story(held(AT))], findings(kept_at=(AT,)))

    assert told["accounts"][0]["endedAt"] == told["accounts"][0]["steps"][0]["at"] == told["inSpoolSince"][0]
    assert told["inSpoolSince"] == ["2027-01-15T08:00:00.000Z"]


def test_somebody_was_asked_if_the_ledger_the_broker_or_vapi_answered() -> None:
    away = AtVapi(account="acme", trouble="no answer")

    assert not findings(events=None, letters=None, at_vapi=(away,), kept_at=(AT,)).was_asked
    assert findings(events=None, letters=None, at_vapi=(away, AtVapi(account="default"))).was_asked
    assert findings(events=None).was_asked
