"""A web application on a port of this machine, until Ctrl-C."""

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from diffusion4k.errors import UsageError

__all__ = ["address", "listen", "serve"]


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to the port; 0 takes any that is free.

    Raises:
        UsageError: the port is taken or may not be used, or the machine has no such address.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"--host {host}: no such address ({error.strerror})") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen()
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            reason = "taken by another program: give another, or 0 for any that is free"
        elif error.errno == errno.EACCES:
            reason = "may not be used: give one from 1024 on, or 0 for any that is free"
        else:
            raise UsageError(f"--host {host}: no such address ({error.strerror})") from None
        raise UsageError(f"--port {port}: {reason}") from None
    return bound


def address(bound: socket.socket, host: str, token: str) -> str:
    """What to open in a browser."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{bound.getsockname()[1]}/?token={token}"


def serve(app: ASGIApp, bound: socket.socket, proxies: Sequence[str] = ()) -> None:
    """Answer requests until Ctrl-C; those under way are finished.

    What `X-Forwarded-For` and `X-Forwarded-Proto` say is believed of `proxies` alone: addresses, or
    networks like 10.0.0.0/8.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
    )
    with suppress(KeyboardInterrupt):  # The usual way to end it.
        uvicorn.Server(config).run(sockets=[bound])
