"""Requests to addresses that somebody typed in, so that nobody makes a service of ours call what only it can reach.

An address is judged twice: as it is given, and once more when its name is resolved for the connection itself, so that a name
cannot mean one thing when it is looked at and another when it is called.
"""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Not what Python calls private but addresses of carriers' networks, where some clouds have their metadata too.
_SHARED = ipaddress.ip_network("100.64.0.0/10")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(OSError):
    """The address may not be called. ``code`` and ``way_on`` are for people."""

    def __init__(self, code: str, text: str, way_on: str) -> None:
        super().__init__(text)
        self.code, self.way_on = code, way_on


def public(address: Address) -> bool:
    """Whether it belongs to nobody's own network. IPv4 inside IPv6 is judged as what it is."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return public(inner)
    return address.is_global and not address.is_multicast and address not in _SHARED


class Guard:
    """``allowed``: hosts and networks (CIDR) that may be called besides public ones, and without TLS."""

    def __init__(self, allowed: str = "") -> None:
        """Raises ValueError for an entry that is neither a host nor a network."""
        self._hosts, self._networks = set[str](), list[Network]()
        for entry in filter(None, (each.strip().lower() for each in allowed.split(","))):
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError:
                if "/" in entry or " " in entry:
                    raise ValueError(f"{entry!r} is neither a host's name nor a network such as 10.1.0.0/16") from None
                self._hosts.add(entry)

    def check(self, url: str) -> None:
        """Judges an address as it is given. Raises Refused."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            parts, host = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
            raise Refused(
                "address_invalid",
                "This is no address that can be called.",
                "Give it as https://host/path, without user name and password.",
            )
        literal = _literal(host)
        if literal is not None:
            self.judge(host, [literal])
        if parts.scheme == "http" and not self._trusts(host, literal):
            raise Refused(
                "address_plain",
                "It is called without TLS.",
                "Give an https address, or allow its host in the settings.",
            )

    def judge(self, host: str, addresses: Iterable[Address]) -> None:
        """Judges what a host's name stands for. Raises Refused if any of it is forbidden."""
        for address in addresses:
            if not public(address) and not self._trusts(host, address):
                raise Refused(
                    "address_forbidden",
                    "The host is in a network that is nobody's from outside.",
                    "Give a public address, or have CLOUDWARD_OUTGOING_ALLOW name this host or network.",
                )

    def _trusts(self, host: str, address: Address | None) -> bool:
        return host.lower() in self._hosts or (
            address is not None and any(address in net for net in self._networks if net.version == address.version)
        )

    def session(self, *, timeout: float) -> aiohttp.ClientSession:
        """Calls only what may be called. No proxy, no cookies; redirects are the caller's to refuse."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_Resolver(self), limit=64, use_dns_cache=False),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout),
            trust_env=False,
        )


def _literal(host: str) -> Address | None:
    """The address that a host is written as, also in the short and odd ways that resolvers take (127.1, 0x7f000001)."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


class _Resolver(AbstractResolver):
    def __init__(self, guard: Guard) -> None:
        self._guard, self._resolver = guard, aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_UNSPEC) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        self._guard.judge(host, [ipaddress.ip_address(each["host"].partition("%")[0]) for each in found])
        return found

    async def close(self) -> None:
        await self._resolver.close()
