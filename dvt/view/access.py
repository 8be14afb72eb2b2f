"""Who may ask the server: only its own page, under an address of this machine.

A page of another site can make a browser send requests to 127.0.0.1. It could also give its own name the address of
this machine and then read the answers (DNS rebinding). So the server answers to addresses and to its own names only,
and takes changes only from its own page.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
        " media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
"""Headers of every answer that a route does not give itself."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at that host.

    Examples:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def is_own_host(header: str, bound: str) -> bool:
    """Whether the `Host` of a request is one of this server: an address, or a name of this machine.

    Args:
        header: the header, with or without a port. Any port is right: ports may be forwarded.
        bound: the host that the server was told to listen at.

    Examples:
        >>> is_own_host("localhost:8484", "127.0.0.1"), is_own_host("evil.example:8484", "127.0.0.1")
        (True, False)
    """
    name = _host_of(header)
    address = _address(name)
    if is_loopback(bound):
        return name == "localhost" or (address is not None and address.is_loopback)
    return address is not None or name in {"localhost", bound.lower(), socket.gethostname().lower()}


def _host_of(header: str) -> str:
    """The host of `host:port`, lower case; of `[::1]:port` what is inside the brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if header.count(":") == 1 else header.lower()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Guard:
    """Refuses requests of other sites, and gives every answer its headers.

    Args:
        app: answers the others.
        bound: the host that the server listens at.
    """

    def __init__(self, app: App, bound: str) -> None:
        self._app, self._bound = app, bound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if (fault := self._fault(headers, scope["method"])) is not None:
            start = {"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]}
            await _with_headers(send)(start)
            await send({"type": "http.response.body", "body": fault.encode()})
            return
        await self._app(scope, receive, _with_headers(send))

    def _fault(self, headers: dict[str, str], method: str) -> str | None:
        """Why a request is refused; None: it is not."""
        host = headers.get("host", "")
        if not is_own_host(host, self._bound):
            if is_loopback(self._bound):
                return "dvt view answers under the names of its own machine only: open the address that it printed."
            return "dvt view answers under the IP address and the name of its own machine only: open its IP address."
        if method in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2].lower() != host.lower()
        if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "dvt view takes images from its own page only."
        return None


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in names]
            message["headers"] = [*given, *own]
        await send(message)

    return sending
