"""Is a call complete? Vapi's record of it can be late: cost, analysis and recording land seconds after the end."""

from typing import Any, Final

from consumers.merge import is_hole

NOT_FOUND_GRACE_S: Final = 300
"""How long after a call's end a 404 means "not there yet" rather than "gone"."""


def missing_from(call: dict[str, Any], report: dict[str, Any], *, asked: bool) -> tuple[str, ...]:
    """What the joined `call` still lacks, in a fixed order; nothing means that it is complete.

    `api` stands for Vapi's own record, not `asked` successfully so far. An answered call has a cost; analysis and
    recording are waited for only if the report showed that they exist, since for many calls they never come.
    """
    return tuple(name for name, lacks in _checks(call, report, asked=asked) if lacks)


def _checks(call: dict[str, Any], report: dict[str, Any], *, asked: bool) -> tuple[tuple[str, bool], ...]:
    return (
        ("api", not asked),
        ("status", call.get("status") != "ended"),
        ("endedAt", is_hole(call.get("endedAt"))),
        ("cost", not is_hole(call.get("startedAt")) and call.get("cost") is None),
        ("analysis", _shows_analysis(report) and not _shows_analysis(call)),
        ("recording", _shows_recording(report) and not _shows_recording(call)),
    )


def _shows_analysis(document: dict[str, Any]) -> bool:
    return not is_hole(document.get("analysis"))


def _shows_recording(document: dict[str, Any]) -> bool:
    artifact = document.get("artifact")
    places = (artifact, document) if isinstance(artifact, dict) else (document,)
    return any(not is_hole(place.get(key)) for place in places for key in ("recording", "recordingUrl"))
