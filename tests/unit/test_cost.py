import sys
from typing import Final

import pytest

from bench.cost.counting import Cost, count, kept_costs
from bench.cost.measuring import ROLES, Part

MORE: Final = 1.15
"""So many times what was kept is a regression: wall time would tell of the machine, this tells of the code."""
PARSERS: Final = ("orjson.loads", "orjson.dumps", "Decoder.Decoder.decode", "_hashlib.openssl_sha256")


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other versions of Python have other instructions")
@pytest.mark.parametrize("part", ROLES)
async def test_a_call_costs_no_more_than_it_did(part: Part) -> None:
    cost, kept = await count(part, calls=20), kept_costs()[part]

    assert cost.total < kept.total * MORE, f"If that is right, `python -m bench.cost keep`: {cost.beside(kept)}"
    assert {name: cost.c_calls.get(name, 0) for name in PARSERS} == {
        name: kept.c_calls.get(name, 0) for name in PARSERS
    }


def test_what_made_a_call_dearer_is_named_first() -> None:
    kept = Cost({"enrich:enrich": 100, "enrich:gone": 50}, {})

    told = Cost({"enrich:enrich": 110, "redaction:_walk": 300}, {}).beside(kept).splitlines()

    assert told[1].split() == ["+300", "redaction:_walk"]
    assert told[-1].split()[0] == "+260"
