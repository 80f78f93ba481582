"""A web application on a port of this machine, until Ctrl-C."""

import asyncio
import errno
import ipaddress
import logging
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from diffusion4k.errors import UsageError
from diffusion4k.support.text_files import shortened

__all__ = ["address", "check_proxies", "listen", "serve"]

_PATIENCE = 30.0
"""Seconds for a request to come."""
_MOST_FILES = 1 << 16


class _Impatient(H11Protocol):
    """Closes a connection that does not come to a request: others wait for its place."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(())

    def _watch(self, before: object) -> None:
        """Close what has been between two requests for so long: what is idle is closed before."""
        if self.transport.is_closing():
            return
        is_between = self.cycle is None or self.cycle.response_complete
        if is_between and self.cycle is before:
            self.transport.close()
        else:
            self.loop.call_later(_PATIENCE, self._watch, self.cycle if is_between else ())


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


def check_proxies(proxies: Sequence[str]) -> None:
    """Refuse anything that is not an address of a proxy.

    Raises:
        UsageError: names it.
    """
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            raise UsageError(
                f"--proxy {shortened(proxy)}: allowed is an address, or a network like 10.0.0.0/8"
            ) from None


def address(bound: socket.socket, host: str, token: str) -> str:
    """What to open in a browser."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{bound.getsockname()[1]}/?token={token}"


def serve(app: ASGIApp, bound: socket.socket, proxies: Sequence[str] = ()) -> None:
    """Answer requests until Ctrl-C; those under way are finished.

    A connection that has not sent a whole request in time is closed, and of open files the process
    may have as many as the system lets it: connections are open files.

    What `X-Forwarded-For` and `X-Forwarded-Proto` say is believed of `proxies` alone: addresses, or
    networks like 10.0.0.0/8.
    """
    _allow_open_files()
    for name in ("asyncio", "uvicorn.error"):
        logging.getLogger(name).addFilter(_in_few_words)
    config = uvicorn.Config(
        app,
        http=_Impatient,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
    )
    with suppress(KeyboardInterrupt):  # The usual way to end it.
        uvicorn.Server(config).run(sockets=[bound])


def _allow_open_files() -> None:
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _in_few_words(record: logging.LogRecord) -> bool:
    """Leaves out tracebacks that say nothing to whoever runs a server, and come by the thousand.

    They are of requests that end with the server, and of connections for which there is no open
    file.
    """
    if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
        return False
    if record.exc_info and isinstance(record.exc_info[1], OSError):
        record.msg, record.args = f"{record.getMessage().splitlines()[0]}", ()
        record.exc_info = record.exc_text = None
    return True
