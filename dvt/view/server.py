"""The server: a free port, its address, the browser, a clean end."""

import os
import socket
import sys
import webbrowser

import uvicorn

from dvt.errors import ConfigError
from dvt.view.access import App

_TRIED = 20
"""Ports that are tried, from the one that was asked for."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at the port, or at the next one that is free.

    Args:
        host: an address of this machine, or a name of it.
        port: 0 for any that is free.

    Raises:
        ConfigError: the host is not one of this machine, or none of the ports is free or allowed.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"host={host} is not known here ({error}): give an address of this machine.") from error
    fault = OSError()
    last = port if port == 0 else min(port + _TRIED - 1, 65535)
    for each in range(port, last + 1):
        opened = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":  # a port that was in use a moment ago; elsewhere this would share a port
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((address[0], each, *address[2:]))
            opened.listen(128)
        except OSError as error:
            opened.close()
            fault = error
            continue
        return opened
    raise ConfigError(
        f"host={host}, ports {port} to {last}: dvt view cannot listen there ({fault.strerror}). Give another port="
        " or host=."
    )


def address_of(listening: socket.socket, host: str) -> str:
    """What a person opens in the browser."""
    port = listening.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}/"


def open_browser(address: str) -> None:
    """Open the address in a browser with windows, where there is one."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if type(browser) is not webbrowser.GenericBrowser:  # those of a terminal, which would take this one
        browser.open(address)


def serve(app: App, listening: socket.socket) -> None:
    """Answer requests until Ctrl-C or SIGTERM, after which the handlers of before are called."""
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listening])
