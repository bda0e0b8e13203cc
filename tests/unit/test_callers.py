import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.ingress.callers import MOST_CALLERS, Callers, Refusals, networks

PROXIES = networks(["10.0.0.0/8", "2001:db8::/32"])
VAPI = networks(["167.150.224.0/23"])
behind = Callers(VAPI, PROXIES)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "167.150.224.1", "203.0.113.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "167.150.224.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "167.150.224.1,203.0.113.7 , 10.9.9.9", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2a00::1]:4711", "2a00::1"),
        ("10.0.0.1", "[2a00::1]", "2a00::1"),
        ("10.0.0.1", "2a00::1", "2a00::1"),
        ("2001:db8::1", "203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "", "203.0.113.7"),
        ("::ffff:10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "unknown", None),
        ("10.0.0.1", "203.0.113.7, _hidden", None),
        ("10.0.0.1", "203.0.113.7,", None),
        ("", "203.0.113.7", None),
    ],
)
def test_whom_our_proxies_heard_is_read_from_the_right_as_far_as_they_are_ours(
    peer: str, forwarded: str, address: str | None
) -> None:
    found = behind.address_of(peer, forwarded)
    assert (found and str(found)) == address


@given(st.lists(st.text(st.characters(codec="latin-1"), max_size=30), max_size=4))
def test_whatever_a_stranger_writes_his_own_address_is_found(written: list[str]) -> None:
    heard = ",".join([*written, "203.0.113.7", "10.0.0.2"])
    assert str(behind.address_of("10.0.0.1", heard)) == "203.0.113.7"
    assert not behind.may_post("10.0.0.1", heard)


@pytest.mark.parametrize(
    ("peer", "forwarded", "may"),
    [
        ("167.150.225.255", "", True),
        ("167.150.226.0", "", False),
        ("10.0.0.1", "167.150.224.0", True),
        ("10.0.0.1", "", False),
        ("203.0.113.7", "167.150.224.0", False),
        ("::ffff:167.150.224.9", "", True),
        ("2a00::1", "", False),
        ("", "", False),
    ],
)
def test_only_who_is_named_may_post(peer: str, forwarded: str, may: bool) -> None:
    assert behind.may_post(peer, forwarded) is may


@pytest.mark.parametrize("peer", ["203.0.113.7", "2a00::1", "", "nonsense"])
def test_where_nobody_is_named_anyone_may(peer: str) -> None:
    assert Callers((), PROXIES).may_post(peer, "")


def test_refusals_are_counted_by_an_address_and_by_the_network_of_an_ipv6_one() -> None:
    names = {Callers().name_of(f"2a00:0:0:7::{number:x}", "") for number in range(50)}
    assert names == {"2a00:0:0:7::/64"}
    assert Callers().name_of("fe80::1%eth0", "") == "fe80::/64"
    assert Callers().name_of("203.0.113.7", "") == "203.0.113.7"
    assert Callers().name_of("", "") == "unknown"


def test_a_single_address_is_a_network_and_host_bits_do_no_harm() -> None:
    assert [str(each) for each in networks(["192.0.2.1", "192.0.2.77/24", "2001:db8::1"])] == [
        *("192.0.2.1/32", "192.0.2.0/24", "2001:db8::1/128")
    ]


def test_refusals_beyond_the_limit_are_counted_by_each_of_the_names_until_the_minute_is_over() -> None:
    refusals = Refusals(3)
    assert [refusals.add(60.0, "a", "account x") for _ in range(5)] == [0, 0, 0, 1, 2]
    assert refusals.add(119.9, "b", "account x") == 3
    assert refusals.add(119.9, "b", "account y") == 0
    assert refusals.add(120.0, "a", "account x") == 0


def test_without_a_limit_nothing_is_beyond_it() -> None:
    refusals = Refusals(0)
    assert [refusals.add(0.0, "a") for _ in range(1000)] == [0] * 1000


def test_a_flood_from_everywhere_takes_no_more_memory_than_so_many_names() -> None:
    refusals = Refusals(1)
    for number in range(MOST_CALLERS + 10):
        refusals.add(0.0, str(number))
    assert len(refusals._counts) <= MOST_CALLERS + 1  # noqa: SLF001
