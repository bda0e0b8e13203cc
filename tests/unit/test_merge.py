import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.merge import IDENTITY, NOT_OF_THE_CALL, as_call, join
from consumers.parts import is_hole
from consumers.readiness import missing_from
from tests.unit.builders import JSON, KEYS, OBJECTS, fetched, report

HOLES: list[Any] = [None, "", [], {}]
# Objects whose keys meet, so that holes, values and whole objects stand against each other.
OVERLAPPING = st.recursive(
    st.sampled_from(HOLES) | st.sampled_from([0, False, 1, "api", "web", [1], [None]]),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)
SIDES = st.dictionaries(st.sampled_from("abc"), OVERLAPPING, max_size=3)


def at(call: Any, path: str) -> Any:
    for key in path.split("."):
        call = call[key]
    return call


def put(call: Any, path: str, value: Any) -> None:
    *above, last = path.split(".")
    for key in above:
        call = call[key]
    call[last] = value


def unfilled(told: Any, joined: Any) -> Iterator[str]:
    """The keys at which there is something in `told` and nothing in `joined`."""
    for key, value in told.items():
        if is_hole(joined.get(key)) and not is_hole(value):
            yield key
        elif isinstance(value, dict) and isinstance(joined.get(key), dict):
            yield from unfilled(value, joined[key])


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    return [(path, value)]


@given(SIDES, SIDES)
def test_the_values_of_the_api_always_win(told: dict[str, Any], known: dict[str, Any]) -> None:
    joined = join(told, copy.deepcopy(known)).call
    for path, value in leaves(known):
        if path and not is_hole(value):
            assert at(joined, ".".join(path)) == value


@given(SIDES, SIDES)
def test_every_hole_that_the_webhook_can_fill_is_filled(told: dict[str, Any], known: dict[str, Any]) -> None:
    assert list(unfilled(told, join(told, copy.deepcopy(known)).call)) == []


@given(SIDES, SIDES)
def test_the_paths_from_the_webhook_are_exactly_what_was_filled(told: dict[str, Any], known: dict[str, Any]) -> None:
    """Putting the webhook's values at these paths into the API's call makes the joined call again."""
    joined = join(copy.deepcopy(told), copy.deepcopy(known))
    rebuilt = copy.deepcopy(known)
    for path in joined.from_webhook:
        put(rebuilt, path, at(told, path))
    assert joined.call == rebuilt
    assert joined.source == ("both" if joined.from_webhook else "api")


@given(SIDES, SIDES)
def test_what_was_filled_was_a_hole(told: dict[str, Any], known: dict[str, Any]) -> None:
    for path in join(told, copy.deepcopy(known)).from_webhook:
        *above, last = path.split(".")
        assert is_hole((at(known, ".".join(above)) if above else known).get(last))


@given(OBJECTS, OBJECTS)
def test_unknown_fields_of_both_sides_are_kept(told: dict[str, Any], known: dict[str, Any]) -> None:
    due = {key for key, value in told.items() if not is_hole(value)} - NOT_OF_THE_CALL
    assert join(told, copy.deepcopy(known)).call.keys() == known.keys() | due


@given(st.dictionaries(st.sampled_from(IDENTITY) | KEYS, JSON))
def test_of_the_snapshot_in_the_webhook_nothing_but_identity_is_taken(snapshot: dict[str, Any]) -> None:
    assert join({"call": snapshot}, {}).call == {
        key: value for key, value in snapshot.items() if key in IDENTITY and not is_hole(value)
    }


def test_a_stale_snapshot_gives_no_status_time_or_monitor() -> None:
    joined = join(report(), {"id": "x", "status": "ended"}).call
    assert "monitor" not in joined
    assert "updatedAt" not in joined
    assert joined["status"] == "ended"


@pytest.mark.parametrize("name", ["outbound-ended", "inbound-voicemail", "web", "pipeline-error"])
def test_what_can_have_changed_since_the_snapshot_is_not_taken_from_it(name: str) -> None:
    snapshot = dict.fromkeys(fetched(name) | report(name)["call"] | {"endedMessage": 1, "squadOverrides": 1}, "stale")
    changeable = {"status", "updatedAt", "startedAt", "endedAt", "endedReason", "cost", "costs", "analysis", "artifact"}
    assert (
        as_call({"call": snapshot}).keys().isdisjoint(changeable | {"monitor", "messages", "transcript", "destination"})
    )


def test_the_report_knows_better_than_its_snapshot() -> None:
    told = {"call": {"customer": {"name": "before"}, "name": "kept"}, "customer": {"name": "after"}}
    assert as_call(told) == {"customer": {"name": "after"}, "name": "kept"}


def test_a_snapshot_is_not_hidden_by_a_hole_in_the_report() -> None:
    assert as_call({"call": {"customer": {"name": "kept"}}, "customer": None}) == {"customer": {"name": "kept"}}


@pytest.mark.parametrize("snapshot", [None, "text", [1], 3])
def test_a_snapshot_that_is_no_object_is_no_snapshot(snapshot: Any) -> None:
    assert as_call({"call": snapshot, "cost": 1}) == {"cost": 1}


@pytest.mark.parametrize("value", HOLES)
def test_there_is_nothing_in_a_hole(value: Any) -> None:
    assert is_hole(value)


@pytest.mark.parametrize("value", [0, 0.0, False, " ", [None], {"a": None}, True, "x"])
def test_zero_and_false_are_something(value: Any) -> None:
    assert not is_hole(value)


def test_a_cost_of_zero_by_the_api_is_not_filled() -> None:
    assert join({"cost": 3.5}, {"cost": 0}).call == {"cost": 0}


def test_lists_are_taken_whole_from_one_side() -> None:
    joined = join({"costs": [1, 2, 3], "other": [4]}, {"costs": [9], "other": []})
    assert joined.call == {"costs": [9], "other": [4]}
    assert joined.from_webhook == ["other"]


def test_an_object_against_a_text_is_left_to_the_api() -> None:
    assert join({"a": {"b": 1}}, {"a": "text"}).call == {"a": "text"}


def test_without_the_api_the_webhook_is_the_call_and_it_has_ended() -> None:
    joined = join(report(), None)
    assert joined.source == "webhook"
    assert joined.call == as_call(report()) | {"status": "ended"}
    assert joined.from_webhook == sorted(as_call(report()))


@pytest.mark.parametrize("name", ["outbound-ended", "inbound-voicemail", "web", "pipeline-error"])
def test_the_samples_are_joined_without_losing_a_field_of_the_api(name: str) -> None:
    joined = join(report(name), fetched(name)).call
    for path, value in leaves(fetched(name)):
        if not is_hole(value):
            assert at(joined, ".".join(path)) == value


def test_a_call_without_data_retention_is_complete_at_once_from_the_webhook() -> None:
    told = report()
    joined = join(told, fetched("zero-data-retention"))
    assert missing_from(joined.call, told, asked=True) == ()
    assert joined.source == "both"
    assert joined.call["artifact"]["transcript"] == told["artifact"]["transcript"]
    assert joined.call["analysis"] == told["analysis"]
    assert {"analysis", "artifact.transcript", "artifact.messages"} <= set(joined.from_webhook)
