from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.simulate.faults import CallFaults, Faults, fault_names, plan


def test_faults_are_parsed_by_name() -> None:
    assert Faults.parse("late=0.1, truncated=0.05") == Faults(late=0.1, truncated=0.05)


def test_no_faults_are_the_default() -> None:
    assert Faults.parse("") == Faults() == Faults.everything(0)


def test_everything_stands_for_all_faults_that_are_not_named() -> None:
    parsed = Faults.parse("gone=0,everything=0.2")

    assert parsed.gone == 0
    assert {getattr(parsed, name) for name in fault_names() if name != "gone"} == {0.2}


@pytest.mark.parametrize("text", ["lat=0.1", "late", "late=often", "=0.1"])
def test_what_cannot_be_parsed_names_all_known_faults(text: str) -> None:
    with pytest.raises(ValueError, match=", ".join(fault_names())):
        Faults.parse(text)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_of_0_to_1_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Faults(late=rate)


@given(seed=st.integers(), number=st.integers(0, 10**6))
def test_no_fault_befalls_a_call_at_rate_0(seed: int, number: int) -> None:
    assert plan(Faults(), seed, number) == CallFaults()


@given(seed=st.integers(), number=st.integers(0, 10**6))
def test_the_same_call_is_always_planned_the_same(seed: int, number: int) -> None:
    assert plan(Faults.everything(0.5), seed, number) == plan(Faults.everything(0.5), seed, number)


@pytest.mark.parametrize("name", fault_names())
def test_each_fault_alone_changes_something(name: str) -> None:
    planned = plan(Faults.parse(f"{name}=1"), 1, 1)

    assert planned.names == (name,)
    assert any(getattr(planned, f.name) != f.default for f in fields(planned) if f.name != "names")


@pytest.mark.parametrize("name", fault_names())
def test_a_fault_befalls_about_as_many_calls_as_its_rate_says(name: str) -> None:
    struck = sum(plan(Faults.parse(f"{name}=0.3"), 1, number) != CallFaults() for number in range(1_000))

    assert struck == pytest.approx(300, abs=60)


def test_another_rate_of_one_fault_moves_no_other_fault() -> None:
    few, many = Faults(late=0.3, gone=0.1), Faults(late=0.3, gone=0.9)

    late = [[plan(faults, 1, n).unfinished_s for n in range(200)] for faults in (few, many)]
    assert late[0] == late[1]


def test_a_call_that_is_gone_is_never_dropped_too() -> None:
    planned = [plan(Faults(gone=0.5, dropped=1), 1, number) for number in range(200)]

    assert all(call.is_gone != call.is_dropped for call in planned)


def test_paced_faults_keep_their_counts_and_shorten_their_seconds() -> None:
    planned = plan(Faults.everything(1), 1, 1)
    paced = planned.paced(0.01)

    assert paced.unfinished_s == pytest.approx(planned.unfinished_s / 100)
    assert paced.server_errors == planned.server_errors
    assert paced.names == planned.names
