"""The proxy on the way to a provider, as the environment or the system names it (`HTTPS_PROXY`, `NO_PROXY`, ...)."""

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from orchestra_router.connections.addresses import is_here


class UnusableProxy(Exception):
    """The environment names a proxy of a kind that is not spoken here, or none at all."""


@dataclass(frozen=True, slots=True)
class Proxy:
    host: str
    port: int
    tls: bool
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    """What it wants to know of who asks."""


def proxy_for(scheme: str, host: str) -> Proxy | None:
    """The proxy for `scheme` at `host`. This machine is never reached through one.

    Raises:
        UnusableProxy: it is a SOCKS proxy, or its URL is none.
    """
    if is_here(host):
        return None
    named = getproxies()
    url = named.get(scheme) or named.get("all")
    return None if not url or proxy_bypass(host) else _proxy(url)


def _proxy(url: str) -> Proxy:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UnusableProxy from None
    if parts.scheme not in {"http", "https"} or not host:
        raise UnusableProxy
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers = ((b"proxy-authorization", b"Basic " + base64.b64encode(login)),)
    tls = parts.scheme == "https"
    return Proxy(host, port or (443 if tls else 80), tls, headers)
