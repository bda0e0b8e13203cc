from typing import Any

import pytest

from consumers.crm.values import LONGEST, Given, source_of
from consumers.paths import WrongPath, document_of
from tests.unit.builders import enriched_call

CALL = {"cost": 0.25, "metadata": {"n": 7.0, "yes": True, "many": ["a", 1], "deep": {"x": 1}, "html": "<b>&"}}


def told(given: Given, name: str = "any", **changes: Any) -> str:
    return source_of(name, given)(document_of(enriched_call(call=CALL | changes)))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("facts.cost", "0.25"),
        ("call.metadata.n", "7"),
        ("call.metadata.yes", "true"),
        ("call.metadata.many", "a;1"),
        ("call.metadata.deep", '{"x":1}'),
        ("facts.summary", ""),
        ("=Sales call", "Sales call"),
        ("=", ""),
        (7, "7"),
        (True, "true"),
        (1.5, "1.5"),
    ],
)
def test_a_mapping_gives_a_path_or_a_value_as_hubspot_takes_it(given: Given, text: str) -> None:
    assert told(given) == text


def test_one_and_true_are_not_mistaken_for_each_other() -> None:
    assert (told(1), told(True), told(1.0)) == ("1", "true", "1")


def test_a_line_that_lacks_a_value_is_left_out_of_a_text() -> None:
    assert told("Summary: {facts.summary}\nCost: {facts.cost} of {callId}\nEnd") == (
        "Cost: 0.25 of 01a058c7-4c94-7cd1-8155-66af75f0734c\nEnd"
    )


def test_in_the_body_lines_are_broken_and_values_are_no_html() -> None:
    text = told("<b>It</b> says {call.metadata.html}\nand ends", name="hs_call_body")

    assert text == "<b>It</b> says &lt;b&gt;&amp;<br>and ends"


def test_a_text_of_half_a_megabyte_is_cut_to_what_a_property_holds() -> None:
    transcript = "x" * 500_000

    for text in (told("call.transcript", transcript=transcript), told("T: {call.transcript}", transcript=transcript)):
        assert len(text) == LONGEST
        assert text.endswith("…")


@pytest.mark.parametrize("given", ["fact.cost", "Cost: {facts.costs}", "facts..cost"])
def test_a_path_that_leads_nowhere_is_refused(given: str) -> None:
    with pytest.raises(WrongPath):
        source_of("any", given)
