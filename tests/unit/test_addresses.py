import pytest

from consumers.addresses import is_public


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::200e"),
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",  # through NAT64, as all of IPv4 is reached where there is only IPv6
        "2002:808:808::1",
    ],
)
def test_an_address_of_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "198.18.0.1"),
        *("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"),  # metadata services
        *("0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "ff0e::1", "100::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
        *("2002:7f00:1::1", "2002:a00:1::", "2001:0:1::1", "64:ff9b:1::808:808", "2001:db8::1", "3fff::1", "5f00::1"),
    ],
)
def test_an_address_of_a_private_network_however_it_is_dressed_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("spelling", ["", "2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost", "8.8.8.8 "])
def test_what_is_no_address_or_oddly_spelt_is_not_public(spelling: str) -> None:
    assert not is_public(spelling)
