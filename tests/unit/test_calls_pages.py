"""How archived calls are shown and exported."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pyarrow import parquet

from consumers.postcall import CallRow
from tests.integration.archived import row
from tests.unit.builders import enriched_call, fetched
from worker.cli.calls import formats
from worker.cli.calls.export import format_of, whole_file
from worker.cli.calls.formats import EXPORTED, Csv, Ndjson, Parquet
from worker.cli.calls.pages import FIRST_LINE, document, line, page
from worker.cli.exit_codes import WrongArguments

FULL = row(call=fetched())
BARE = row(call={}, complete=False, missing=["api", "cost"])


def test_a_call_is_one_screen() -> None:
    told = page(FULL, with_transcript=False)
    for each in (
        "call 01a058c7-4c94-7cd1-8155-66af75f0734c  account default",
        "completed / customer-ended (customer-ended-call)  version 1, complete, from api",
        "+15035550167, Priya Raman, crm-48213",
        "$0.1845: transport 0.0210, speech to text 0.0147, model 0.0215, voice 0.0456, Vapi 0.0749",
        "assistant 56 s and 154 words, cut short 2 \N{MULTIPLICATION SIGN}, customer 20 s and 56 words",
        "1,732 ms a turn, 95th centile 2,063 ms",
        '"callbackRequested": true',
        "QA checklist",
    ):
        assert each in told
    assert "Am I speaking with Priya?" not in told
    assert len(told.splitlines()) < 25
    assert "Am I speaking with Priya?" in page(FULL, with_transcript=True)


def test_what_is_not_known_is_left_out() -> None:
    told = page(BARE, with_transcript=True)
    assert "version 1, without api, cost, from api" in told
    assert "no transcript" in told
    for absent in ("customer ", "cost  ", "None", "talk"):
        assert absent not in told
    assert line(BARE).split() == [
        "2026-08-31T17:05:55.477Z",
        "default",
        "-",
        "-",
        "-",
        "completed",
        "customer-ended",
        "-",
        "01a058c7-4c94-7cd1-8155-66af75f0734c",
    ]


def test_a_line_stands_under_the_names_of_its_columns() -> None:
    assert line(FULL).index("+1503") == FIRST_LINE.index("customer")
    assert line(FULL).index("01a058c7") == FIRST_LINE.index("callId")


def test_what_a_caller_said_commands_no_terminal() -> None:
    evil = row(call={"customer": {"name": "\x1b[2Jgone\r"}, "artifact": {"transcript": "a\x1b]0;title\x07\nb"}})
    told = page(evil, with_transcript=True)
    assert "\x1b" not in told
    assert "\x07" not in told
    assert told.endswith("�\nb\n")


def test_json_has_every_column_and_values_as_json() -> None:
    told = document(FULL)
    assert told["callId"] == FULL.call_id
    assert {"rank", "body", "transcript", "enriched"}.isdisjoint(told)
    assert {"turnLatencyP95Ms", "customerExternalId", "endedAt", "missing", "structuredOutputs"} <= told.keys()
    whole = document(FULL, whole=True)
    assert whole["enriched"]["call"] == fetched()
    assert whole["transcript"] == FULL.transcript


def exported(writer: Any, *rows: CallRow) -> bytes:
    out = io.BytesIO()
    made = writer(out)
    for each in rows:
        made.add(each)
    made.end()
    return out.getvalue()


def test_ndjson_has_the_calls_whole_a_line_each() -> None:
    lines = exported(Ndjson, FULL, BARE).splitlines()
    assert [json.loads(each)["complete"] for each in lines] == [True, False]
    assert json.loads(lines[0])["call"] == enriched_call(call=fetched()).call


def test_csv_has_the_columns_whatever_stands_in_them() -> None:
    awkward = replace(FULL, summary='say "no",\r\nor\nelse; =1+1', transcript="ü\n한국어")
    text = exported(Csv, awkward, BARE).decode()
    first, second = csv.DictReader(io.StringIO(text, newline=""))
    assert tuple(first) == EXPORTED
    assert (first["summary"], first["transcript"]) == (awkward.summary, awkward.transcript)
    assert (second["missing"], second["cost"], second["complete"]) == ("api,cost", "", "False")


def test_parquet_has_the_columns_with_their_types_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "GROUP_ROWS", 2)
    file = parquet.ParquetFile(io.BytesIO(exported(Parquet, FULL, BARE, FULL)))
    assert file.num_row_groups == 2
    first, second, _ = file.read().to_pylist()
    assert (first["cost"], first["assistant_words"], first["complete"]) == (0.1845, 154, True)
    assert first["ended_at"].isoformat() == "2026-08-31T17:05:55.477000+00:00"
    assert (second["cost"], second["started_at"], second["missing"]) == (None, None, "api,cost")
    types = {field.name: str(field.type) for field in file.schema_arrow}
    assert (types["ended_at"], types["cost"], types["version"]) == ("timestamp[ms, tz=UTC]", "double", "int64")
    assert (types["complete"], types["summary"]) == ("bool", "string")


@pytest.mark.parametrize("writer", [Ndjson, Csv, Parquet])
def test_an_export_of_nothing_is_a_whole_file_too(writer: Any) -> None:
    made = exported(writer)
    if writer is Parquet:
        assert parquet.read_table(io.BytesIO(made)).num_rows == 0
    else:
        assert made.decode().splitlines() == ([] if writer is Ndjson else [",".join(EXPORTED)])


def interrupted(to: str) -> None:
    with whole_file(to) as out:
        out.write(b"half")
        raise KeyboardInterrupt


def test_a_file_is_there_once_it_is_whole_and_the_old_one_till_then(tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(str(file))
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("calls.csv", "old")]

    with whole_file(str(file)) as out:
        out.write(b"new")
        assert file.read_text() == "old"
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("calls.csv", "new")]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    for to in (tmp_path / "none" / "x", tmp_path):
        with pytest.raises(WrongArguments, match=r"it cannot be written: (No such file|Is a)"), whole_file(str(to)):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("to", "form"),
    [
        ("calls.csv", "csv"),
        ("a.b/calls.parquet", "parquet"),
        ("calls.ndjson", "ndjson"),
        ("calls", "ndjson"),
        ("", "ndjson"),
    ],
)
def test_an_export_has_the_format_that_its_files_name_asks_for(to: str, form: str) -> None:
    assert format_of(to) == form
