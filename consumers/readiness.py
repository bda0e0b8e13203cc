"""Is a call complete? Vapi's record of it can be late: cost, analysis and recording land seconds after the end."""

from typing import Any, Final

from consumers.parts import is_hole, parts_of

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
        ("analysis", not _shows_analysis(call) and _shows_analysis(report)),
        ("recording", not _shows_recording(call) and _shows_recording(report)),
    )


def _shows_analysis(document: dict[str, Any]) -> bool:
    return not is_hole(document.get("analysis"))


def _shows_recording(document: dict[str, Any]) -> bool:
    places = (document, parts_of(document.get("artifact")) or {})
    return any(not is_hole(place.get(key)) for place in places for key in ("recording", "recordingUrl"))
