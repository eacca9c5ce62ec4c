"""Which addresses of the network may be connected to."""

from __future__ import annotations

import ipaddress
import socket

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenError(Exception):
    """An address is not of the public internet."""


def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """The address to connect to: what was checked, so that a name cannot lead elsewhere after.

    Raises:
        ForbiddenError: when any address of the host is not of the public internet, unless allowed.
        OSError: when there is no such host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(0, "no name of a host") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not allow_private:
        for address in addresses:
            if not is_public(address):
                raise ForbiddenError(f"leads to {address}, which is not of the public internet")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address is of the public internet, also where it wraps an IPv4 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return all(
        inner.is_global and not inner.is_multicast and not inner.is_reserved
        for inner in (ip, *_wrapped(ip))
    )


def _wrapped(ip: _Ip) -> list[_Ip]:
    """IPv4 addresses in an IPv6 one: mapped, 6to4, Teredo, NAT64."""
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64:
        inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return [address for address in inner if address is not None]
