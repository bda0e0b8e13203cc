from typing import Any

import pytest

from consumers.paths import WrongPath, document_of, path
from tests.unit.builders import enriched_call, fetched


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return document_of(enriched_call(call=fetched() | {"metadata": {"a.b": 1, "crmContactId": "48213"}}))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("account", "default"),
        ("callId", "01a058c7-4c94-7cd1-8155-66af75f0734c"),
        ("outcome.result", "completed"),
        ("call.analysis.structuredData.doNotCall", False),
        ("call.metadata.crmContactId", "48213"),
        ('call.metadata."a.b"', 1),
        ("call.costs[0].type", "transport"),
        ("call.costs[-1].type", "knowledge-base"),
        ("call.costs[99].type", None),
        ("call.costs[type=vapi].cost", 0.074888),
        ("call.artifact.structuredOutputs[name=QA checklist].result.score", 9),
        ("call.brandNewField", None),
        ("call.analysis.summary.deeper", None),
        ("facts.customer_number", "+15035550167"),
    ],
)
def test_a_path_leads_to_a_value_or_to_nothing(document: dict[str, Any], text: str, value: object) -> None:
    assert path(text).of(document) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no path"),
        (".call", "is no path"),
        ("call..x", "is no path"),
        ("call.", "is no path"),
        ("call.costs[0", "is no path"),
        ("callanalysis", "begins with"),
        ("cal.id", "did you mean call"),
        ("outcome.reslut", "did you mean result"),
        ("outcome.nothing", "there are endedReason, reason, result"),
        ("call.anaylsis.summary", "did you mean analysis"),
        ("facts.duration", "did you mean duration_s"),
        ("[0].x", "begins with"),
    ],
)
def test_a_wrong_path_is_refused_where_it_goes_wrong(text: str, told: str) -> None:
    with pytest.raises(WrongPath, match=told):
        path(text)
