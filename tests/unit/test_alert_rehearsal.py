"""What the rules would have said of calls, by the calls' own times."""

from consumers.alerts.rehearsal import Rehearsal, Said
from consumers.alerts.table import Alerts
from consumers.enriched import EnrichedCall
from consumers.timestamps import iso
from tests.unit.alerts import AT, alerts, failed, rule
from tests.unit.builders import enriched_call

PACE = {"group_wait_s": 30, "over_after_s": 600}


def rehearse(of: Alerts, *calls: EnrichedCall, until: float) -> list[Said]:
    rehearsal = Rehearsal(of, ["default"], AT)
    said = [each for call in calls for each in rehearsal.hear(call)]
    return said + list(rehearsal.until(AT + until))


def words(said: list[Said]) -> list[tuple[float, str, str]]:
    return [(each.at - AT, each.announcement.what, each.announcement.title) for each in said]


def call_at(after_s: float, *, fails: bool = True, **changes: str) -> EnrichedCall:
    ended_at = iso(AT + after_s)
    call = failed(f"call-{after_s:g}", ended_at, **changes)
    return call if fails else enriched_call(callId=call.call_id, timeline=_timeline(call))


def _timeline(call: EnrichedCall) -> dict[str, object]:
    at = call.timeline.ended_at
    return {"endedAt": at, "receivedAt": at, "fetchedAt": at, "emittedAt": at, "attempts": 1}


def test_failed_calls_are_told_when_they_would_have_been() -> None:
    said = rehearse(alerts(**PACE), call_at(100), call_at(110), call_at(115), call_at(120), until=3600)

    assert words(said) == [
        (140, "raised", "failed calls: 4 calls (account default)"),
        (730, "over", "failed calls: over: 4 calls (account default)"),
    ]
    assert [line for line in said[0].announcement.body.splitlines() if line.startswith("call-")] == [
        f"call-{after_s}: pipeline-error-openai-llm-failed" for after_s in (120, 115, 110)
    ]


def test_each_account_is_told_of_by_itself() -> None:
    said = rehearse(alerts(**PACE), call_at(10), call_at(11, account="acme"), until=60)

    assert sorted(each.account for each in said) == ["acme", "default"]


def test_a_share_rises_and_falls_with_the_calls_of_its_window() -> None:
    share = rule(name="share", measure="share", above=0.5, min_calls=4, window_s=300)
    calls = [call_at(10.0 * number, fails=number > 5) for number in range(20)]
    said = rehearse(alerts(share, **PACE), *calls, until=3600)

    assert words(said) == [
        (160, "raised", "share: 62.5% of 16 calls (account default)"),
        (1050, "over", "share: over: at worst 100.0% of 14 calls (account default)"),
    ]


def test_silence_is_told_once_the_window_is_over() -> None:
    silence = rule(name="silence", result=(), measure="calls", below=1, window_s=900)
    said = rehearse(alerts(silence, **PACE), call_at(50, fails=False), call_at(2000, fails=False), until=2700)

    assert [(at, what) for at, what, _ in words(said)] == [(980, "raised"), (2600, "over")]


def test_calls_without_news_say_nothing() -> None:
    assert rehearse(alerts(**PACE), call_at(10, fails=False), until=3600) == []
