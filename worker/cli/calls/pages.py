"""How archived calls are shown: as lines, as one page, as JSON."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from consumers.postcall import COLUMNS, CallRow, body_of
from consumers.tolerant_json import parse

NOT_SHOWN: Final = frozenset({"rank", "body"})
JSON_COLUMNS: Final = ("structured_data", "structured_outputs")
WIDTHS: Final = {
    "endedAt": 24,
    "account": 12,
    "direction": 9,
    "customer": 16,
    "lasted": 8,
    "result": 9,
    "reason": 16,
    "cost": 8,
    "callId": 36,
}
FIRST_LINE: Final = "  ".join(name.ljust(width) for name, width in WIDTHS.items()).rstrip() + "\n"
NOTHING: Final = "-"


def calls(count: int) -> str:
    """`1 call`, `2,000 calls`."""
    return "1 call" if count == 1 else f"{count:,} calls"


def document(row: CallRow, *, whole: bool = False) -> dict[str, Any]:
    """A row as JSON has it; with `whole`, the transcript, and the enriched call as it was archived."""
    hidden = NOT_SHOWN if whole else NOT_SHOWN | {"transcript"}
    told = {_camel(name): _value(name, row) for name in COLUMNS if name not in hidden}
    return told | {"enriched": parse(body_of(row))} if whole else told


def _value(name: str, row: CallRow) -> Any:
    value = getattr(row, name)
    return orjson.Fragment(value) if name in JSON_COLUMNS and value is not None else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def line(row: CallRow) -> str:
    """A call in one line of the table."""
    cells = (
        *(row.ended_at, row.account, row.direction, row.customer_number, _lasted(row.duration_s), row.result),
        *(row.reason, None if row.cost is None else f"{row.cost:.4f}", row.call_id),
    )
    widths = WIDTHS.values()
    return "  ".join(_cell(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() + "\n"


def _cell(value: str | None) -> str:
    return printable(value).replace("\n", " ") if value else NOTHING


def _lasted(seconds: float | None) -> str | None:
    return None if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def printable(text: str) -> str:
    """`text` without what would command a terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text)


def page(row: CallRow, *, with_transcript: bool) -> str:
    """A call on one screen: who, how long, how it went, what it cost; and what was said, if that is asked for."""
    told = {label: value for label, value in _facts(row) if value}
    width = max(map(len, told))
    lines = [f"call {row.call_id}  account {row.account}", _state(row), ""]
    lines += [f"  {label.ljust(width)}  {_indented(value, width + 4)}" for label, value in told.items()]
    if with_transcript:
        lines += ["", printable(row.transcript or "no transcript").rstrip()]
    return "".join(f"{each}\n" for each in lines)


def _state(row: CallRow) -> str:
    state = "complete" if row.complete else f"without {', '.join(row.missing) or 'all of it'}"
    outcome = f"{row.result} / {row.reason} ({row.ended_reason or 'no endedReason'})"
    return printable(f"{outcome}  version {row.version}, {state}, from {row.joined_from}")


def _facts(row: CallRow) -> Iterator[tuple[str, str]]:
    lasted = _lasted(row.duration_s)
    yield "ended", _joined(row.ended_at, lasted and f"lasted {lasted}", row.direction or row.type)
    yield "customer", _joined(row.customer_number, row.customer_name, row.customer_email, row.customer_external_id)
    yield "number", row.our_number or row.phone_number_id or ""
    yield "assistant", _joined(row.assistant_id, row.squad_id and f"squad {row.squad_id}")
    yield "cost", _cost(row)
    yield "talk", _joined(*_talk(row))
    yield "latency", _latency(row)
    yield "success", row.success_evaluation or ""
    yield "summary", row.summary or ""
    yield "data", _pretty(row.structured_data)
    yield from _outputs(row.structured_outputs)
    yield "recording", row.recording_url or ""
    yield "archived", f"{row.archived_at}, from {row.event_id}"


def _joined(*parts: str | None) -> str:
    return ", ".join(filter(None, parts))


def _cost(row: CallRow) -> str:
    parts: Mapping[str, float | None] = {
        "transport": row.cost_transport,
        "speech to text": row.cost_stt,
        "model": row.cost_llm,
        "voice": row.cost_tts,
        "Vapi": row.cost_vapi,
    }
    told = ", ".join(f"{name} {cost:.4f}" for name, cost in parts.items() if cost is not None)
    return "" if row.cost is None else f"${row.cost:.4f}{f': {told}' if told else ''}"


def _talk(row: CallRow) -> Iterator[str | None]:
    sides = (
        ("assistant", row.assistant_talk_s, row.assistant_words, row.assistant_interrupted),
        ("customer", row.customer_talk_s, row.customer_words, row.customer_interrupted),
    )
    for side, talk_s, words, interrupted in sides:
        if talk_s is not None:
            cut = f", cut short {interrupted} ×" if interrupted else ""  # noqa: RUF001  # it reads as "times"
            yield f"{side} {talk_s:.0f} s and {words or 0} words{cut}"


def _latency(row: CallRow) -> str:
    if row.turn_latency_ms is None:
        return ""
    centile = f", 95th centile {row.turn_latency_p95_ms:,.0f} ms" if row.turn_latency_p95_ms is not None else ""
    return f"{row.turn_latency_ms:,.0f} ms a turn{centile}"


def _outputs(text: str | None) -> Iterator[tuple[str, str]]:
    """Structured outputs by their names."""
    outputs = orjson.loads(text) if text else {}
    for key, output in outputs.items():
        name, result = (output.get("name"), output.get("result")) if isinstance(output, dict) else (None, output)
        yield str(name or key), result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def _pretty(text: str | None) -> str:
    return "" if text is None else json.dumps(orjson.loads(text), ensure_ascii=False)


def _indented(value: str, margin: int) -> str:
    return f"\n{' ' * margin}".join(printable(value).splitlines())
