"""Which network addresses may be connected to. Checked on the address itself, when it is connected to.

Looking at a name says nothing: whoever answers for it in the DNS may answer differently a moment later.
"""

import ipaddress
import socket
from collections.abc import Collection
from typing import Literal

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Place = Literal["public", "private", "loopback", "forbidden"]

METADATA_HOSTS = frozenset({"metadata.google.internal", "metadata", "instance-data"})
METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "fd00:ec2::254",  # Amazon
        "fd20:ce::254",  # Google
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
    )
)
"""Where clouds hand out the keys of the machine, besides 169.254.169.254, which is link-local as a whole."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_V4_COMPATIBLE = ipaddress.ip_network("::/96")
_SHARED = ipaddress.ip_network("100.64.0.0/10")
"""Between a carrier and its customers, and used by private networks such as Tailscale's."""


def address_of(host: str) -> Address | None:
    """`host` as the address it stands for, in any spelling a resolver takes (2852039166 is 169.254.169.254)."""
    try:
        return unwrapped(ipaddress.ip_address(host))
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries, where packets to it end up there."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64 or (address in _V4_COMPATIBLE and int(address) > 0xFFFF):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def place_of(address: Address) -> Place:
    """Where `address`, unwrapped, leads."""
    if address.is_loopback:
        return "loopback"
    if address in METADATA_ADDRESSES or address.is_link_local or address.is_multicast or address.is_unspecified:
        return "forbidden"
    if isinstance(address, ipaddress.IPv4Address) and address.is_reserved:
        return "forbidden"
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return "private"
    return "private" if address.is_private or address in _SHARED else "public"


def is_here(host: str) -> bool:
    """Whether `host` is spelt as this machine."""
    host = host.rstrip(".").lower()
    address = address_of(host)
    return (
        host == "localhost" or host.endswith(".localhost") or (address is not None and place_of(address) == "loopback")
    )


def may_connect(host: str, address: str, private_hosts: Collection[str]) -> bool:
    """Whether `host` may be reached at `address`, one of those that it stands for.

    `private_hosts` are declared to be on a private network or on this machine.
    """
    place = place_of(unwrapped(ipaddress.ip_address(address)))
    if place == "loopback":
        return is_here(host) or host in private_hosts
    return place == "public" or (place == "private" and host in private_hosts)
