"""Where a request comes from: the client's address, and the network that limits count by."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from flask import Flask

from api.kit.config import TRUSTED_PROXIES
from api.kit.current import extensions, wsgi_environ
from api.kit.settings import Settings

UNKNOWN = "unknown"  # the network of whoever has no address: they share one
_IPV6_PREFIX = 64  # bits; who has one address of such a network has all of them (RFC 6177)

Address = IPv4Address | IPv6Address


LONGEST = 100  # characters of a text that may be an address: others are none, and not remembered


class Proxies:
    """The proxies that are believed when they say for whom they ask."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ip_network(network) for network in networks]

    def client(self, environ: Mapping[str, Any]) -> str | None:
        """Return the address of the client of a WSGI environ, or None when there is none.

        That is the peer; where a proxy is trusted, whoever it names last in `X-Forwarded-For`, and so
        on. What somebody untrusted wrote, and whatever stands left of what is no address, is not read.
        """
        address = _parse(environ.get("REMOTE_ADDR", ""))
        if self._networks and address is not None:
            address = self._behind(address, environ.get("HTTP_X_FORWARDED_FOR", ""))
        return None if address is None else str(address)

    def _behind(self, address: Address, forwarded_for: str) -> Address:
        for hop in reversed(forwarded_for.split(",")):
            if not any(address in network for network in self._networks):
                break
            found = _parse(hop.strip())
            if found is None:
                break
            address = found
        return address


def init_addresses(app: Flask, settings: Settings) -> None:
    """Tell the app which proxies to trust."""
    app.extensions["tessera.proxies"] = Proxies(settings[TRUSTED_PROXIES])


def client_address() -> str | None:
    """Return the address of the current request's client."""
    proxies: Proxies = extensions()["tessera.proxies"]
    return proxies.client(wsgi_environ())


@lru_cache(maxsize=4096)
def network_of(address: str | None) -> str:
    """Return what limits count an address by: IPv4 whole, IPv6 as its /64."""
    parsed = _parse(address or "")
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, _IPV6_PREFIX), strict=False))
    return UNKNOWN if parsed is None else str(parsed)


def _parse(text: str) -> Address | None:
    """Return an address, which may have a port, brackets or a zone; or None when it is none."""
    return _read(text) if len(text) <= LONGEST else None


@lru_cache(maxsize=4096)
def _read(text: str) -> Address | None:
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
