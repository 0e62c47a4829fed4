"""Where a connection may go: the configured host, and only to an address that this host may have.

The name is resolved, every address is checked, and the connection goes to the address that was
checked, so that a name whose answer changes leads nowhere else. A name that the operator did not
call private may not lead into a private network; nothing leads to link-local addresses, where clouds
keep their secrets. What this file does not know: HTTP.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from ultracore.distillation.errors import ConfigurationError

__all__ = ["Destination", "ForbiddenAddress", "addresses_of", "parse_base_url"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenAddress(OSError):  # noqa: N818  it says what was found
    """The host has an address that it may not have."""


class Destination(NamedTuple):
    """A server.

    Attributes:
        tls: Whether it is spoken to over TLS.
        host: Name or address, without brackets.
        port: TCP port.
        path: What every path begins with, without a slash at its end.
        private: Whether it may have addresses that are not public.
    """

    tls: bool
    host: str
    port: int
    path: str
    private: bool

    @property
    def authority(self) -> str:
        """The `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse_base_url(url: str, *, private: bool = False) -> Destination:
    """Read a base URL such as `https://api.openai.com/v1`.

    Args:
        url: From the operator's configuration, never from a request.
        private: Whether the name may lead into a private network; an address written out, and
            `localhost`, may without asking.

    Raises:
        ConfigurationError: It is not http(s), names no host, or carries more than a path.

    Example:
        >>> parse_base_url("http://localhost:8000/v1").authority
        'localhost:8000'
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except (ValueError, AttributeError, TypeError):
        raise ConfigurationError("upstream_url is not a URL") from None
    plain = parts.scheme in ("http", "https") and host and "@" not in parts.netloc and not parts.query + parts.fragment
    if not plain or not url.isascii() or any(c <= " " for c in url):
        raise ConfigurationError("upstream_url must look like https://host/v1, without user name, query or fragment")
    literal = _literal(host)
    if literal is not None and _never(literal):
        raise ConfigurationError("upstream_url names an address that no teacher can have")
    tls = parts.scheme == "https"
    named = host == "localhost" or literal is not None
    return Destination(tls, host, port or (443 if tls else 80), parts.path.rstrip("/"), private or named)


async def addresses_of(destination: Destination) -> list[str]:
    """The addresses of a host, each of them checked.

    Raises:
        ForbiddenAddress: One of them is not allowed; then none is used.
        OSError: The name cannot be resolved.
    """
    literal = _literal(destination.host)
    if literal is not None:
        return [destination.host]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(destination.host, destination.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        if not allowed(text, private=destination.private):
            raise ForbiddenAddress("the teacher's name leads to an address that it may not have")
    return addresses


def allowed(text: str, *, private: bool) -> bool:
    """Whether an address may be connected to.

    Example:
        >>> allowed("169.254.169.254", private=True), allowed("::ffff:127.0.0.1", private=False)
        (False, False)
    """
    address = _literal(text)
    return address is not None and not _never(address) and (private or _plain(address).is_global)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries: mapped, 6to4 or NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _never(address: Address) -> bool:
    plain = _plain(address)
    return (
        plain.is_link_local or plain.is_multicast or plain.is_unspecified or (plain.is_reserved and plain.version == 4)
    )
