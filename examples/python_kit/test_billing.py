"""A handler is a function of a call: it is tested without a broker."""

import sqlite3
from pathlib import Path

import pytest
from billing import TABLE, bill

from consumers import EnrichedCall, Reject, decode_call

CALL = (Path(__file__).with_name("enriched-call.json")).read_bytes()


@pytest.fixture
def database() -> sqlite3.Connection:
    opened = sqlite3.connect(":memory:")
    opened.execute(TABLE)
    return opened


def test_a_call_is_billed(database: sqlite3.Connection) -> None:
    bill(decode_call(CALL), database)
    assert database.execute("SELECT * FROM lines").fetchall() == [
        ("01a058c7-4c94-7cd1-8155-66af75f0734c", 90.0, 0.18, 1)
    ]


def test_a_call_without_a_cost_is_for_a_person_to_look_at(database: sqlite3.Connection) -> None:
    call: EnrichedCall = decode_call(CALL.replace(b'"cost": 0.18', b'"cost": null'))
    with pytest.raises(Reject):
        bill(call, database)
