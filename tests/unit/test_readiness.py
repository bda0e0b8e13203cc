from typing import Any

import pytest

from consumers.merge import join
from consumers.readiness import missing_from
from tests.unit.builders import fetched, report

READY = {
    "status": "ended",
    "endedAt": "2026-08-31T17:05:55.477Z",
    "startedAt": "2026-08-31T17:04:25.612Z",
    "cost": 0.18,
}


@pytest.mark.parametrize("name", ["outbound-ended", "inbound-voicemail", "web", "pipeline-error"])
def test_the_final_samples_lack_nothing(name: str) -> None:
    told = report(name)
    assert missing_from(join(told, fetched(name)).call, told, asked=True) == ()


def test_a_call_still_in_progress_by_the_api_lacks_its_end() -> None:
    told = report()
    assert missing_from(join(told, fetched("in-progress")).call, told, asked=True) == ("status",)


def test_a_call_whose_analysis_is_late_at_the_api_has_it_from_the_webhook() -> None:
    told = report()
    assert missing_from(join(told, fetched("ended-analysis-pending")).call, told, asked=True) == ()


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, ()),
        ({"status": "in-progress"}, ("status",)),
        ({"status": None}, ("status",)),
        ({"status": "forwarding"}, ("status",)),
        ({"endedAt": None}, ("endedAt",)),
        ({"endedAt": ""}, ("endedAt",)),
        ({"cost": None}, ("cost",)),
        ({"cost": 0}, ()),
        ({"cost": None, "startedAt": None}, ()),
        ({"status": "queued", "endedAt": None, "cost": None}, ("status", "endedAt", "cost")),
    ],
)
def test_a_call_is_ready_when_it_has_ended_and_an_answered_one_has_its_cost(
    changes: dict[str, Any], missing: tuple[str, ...]
) -> None:
    assert missing_from(READY | changes, {}, asked=True) == missing


def test_a_call_that_vapi_could_not_be_asked_about_lacks_the_api_whatever_the_webhook_holds() -> None:
    assert missing_from(READY, {}, asked=False) == ("api",)


@pytest.mark.parametrize(
    ("told", "call", "missing"),
    [
        ({"analysis": {"summary": "s"}}, {}, ("analysis",)),
        ({"analysis": {"summary": "s"}}, {"analysis": {}}, ("analysis",)),
        ({"analysis": {"summary": "s"}}, {"analysis": {"summary": "late"}}, ()),
        ({"analysis": {}}, {}, ()),
        ({"analysis": None}, {}, ()),
        ({}, {"analysis": {"summary": "s"}}, ()),
        ({"artifact": {"recording": {"stereoUrl": "u"}}}, {}, ("recording",)),
        ({"artifact": {"recordingUrl": "u"}}, {}, ("recording",)),
        ({"recordingUrl": "u"}, {"artifact": {}}, ("recording",)),
        ({"recordingUrl": "u", "artifact": {"transcript": "t"}}, {}, ("recording",)),
        ({"recordingUrl": "u"}, {"artifact": {"transcript": "t"}, "recordingUrl": "u"}, ()),
        ({"recordingUrl": "u"}, {"artifact": {"recording": {"stereoUrl": "u"}}}, ()),
        ({"artifact": {"recordingUrl": "u"}}, {"recordingUrl": "u"}, ()),
        ({"artifact": {"recording": {}, "recordingUrl": ""}}, {}, ()),
        ({"artifact": "odd"}, {"artifact": ["odd"]}, ()),
        ({"analysis": {"x": 1}, "recordingUrl": "u"}, {}, ("analysis", "recording")),
    ],
)
def test_analysis_and_recording_are_waited_for_only_if_the_webhook_showed_them(
    told: dict[str, Any], call: dict[str, Any], missing: tuple[str, ...]
) -> None:
    assert missing_from(READY | call, told, asked=True) == missing
