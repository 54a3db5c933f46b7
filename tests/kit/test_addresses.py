"""Where a request comes from: what is believed of it, and what limits count by."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.kit.addresses import UNKNOWN, Proxies, network_of
from api.kit.config import TRUSTED_PROXIES
from api.kit.settings import Settings, SettingsError

PROXIES = ("10.0.0.0/8", "fd00::/8")
PROXY = "10.0.0.1"


def client(peer: str, forwarded_for: str | None = None, proxies: tuple[str, ...] = PROXIES) -> str | None:
    environ = {"REMOTE_ADDR": peer}
    if forwarded_for is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded_for
    return Proxies(proxies).client(environ)


@pytest.mark.parametrize("peer", ["192.0.2.7", "10.0.0.1", "2001:db8::1"])
def test_by_default_the_peer_is_the_client(peer: str) -> None:
    assert client(peer, "198.51.100.1", proxies=()) == peer


def test_what_an_untrusted_peer_forwards_is_not_believed() -> None:
    assert client("192.0.2.7", "198.51.100.1") == "192.0.2.7"


@pytest.mark.parametrize(
    ("forwarded_for", "found"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("203.0.113.9, 198.51.100.1", "198.51.100.1"),  # the left one was written by the client
        ("198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("203.0.113.9,198.51.100.1,10.9.9.9,fd00::2", "198.51.100.1"),
        ("10.2.2.2, 10.3.3.3", "10.2.2.2"),
        ("198.51.100.1:4711", "198.51.100.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8:0:0::0:1", "2001:db8::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_the_right_most_untrusted_address_is_the_client(forwarded_for: str, found: str) -> None:
    assert client(PROXY, forwarded_for) == found


@pytest.mark.parametrize(
    "forwarded_for",
    ["", " ", ",", "unknown", "_hidden", "198.51.100.1, x", "198.51.100.1,", "198.51.100.1/8", "1.2.3", "%"],
)
def test_what_is_no_address_ends_the_walk(forwarded_for: str) -> None:
    assert client(PROXY, forwarded_for) == PROXY


def test_an_address_left_of_nonsense_is_not_believed() -> None:
    assert client(PROXY, "203.0.113.9, nonsense, 10.7.7.7") == "10.7.7.7"


def test_a_mapped_proxy_is_trusted_as_what_it_is() -> None:
    assert client("::ffff:10.0.0.1", "198.51.100.1") == "198.51.100.1"


@given(st.text(), st.text())
def test_whatever_is_sent_gives_an_address_or_nothing(peer: str, forwarded_for: str) -> None:
    for found in (client(peer, forwarded_for), client(PROXY, forwarded_for)):
        if found is not None:
            assert str(ip_address(found)) == found
            assert len(found) <= 45  # what a session keeps
        assert network_of(found)


@given(st.lists(st.ip_addresses()), st.ip_addresses(v=4).filter(lambda a: a not in ip_network("10.0.0.0/8")))
def test_what_a_client_writes_does_not_change_its_address(forged: list[object], address: object) -> None:
    written = ", ".join(map(str, [*forged, address]))
    assert client(PROXY, f"{written}, 10.4.4.4") == str(address)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        (None, UNKNOWN),
        ("", UNKNOWN),
        ("nonsense", UNKNOWN),
    ],
)
def test_limits_count_ipv4_whole_and_ipv6_by_its_64(address: str | None, network: str) -> None:
    assert network_of(address) == network


def test_proxies_are_given_as_networks_or_addresses() -> None:
    given = Settings([TRUSTED_PROXIES], {"TESSERA_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1,fd00::/8"})
    assert given[TRUSTED_PROXIES] == ("10.0.0.0/8", "192.0.2.1/32", "fd00::/8")


@pytest.mark.parametrize("value", ["proxy.example.com", "10.0.0.1/8", "10.0.0.0/33", "*"])
def test_what_is_no_network_is_refused_at_start(value: str) -> None:
    with pytest.raises(SettingsError, match="must be networks"):
        Settings([TRUSTED_PROXIES], {"TESSERA_TRUSTED_PROXIES": value})
