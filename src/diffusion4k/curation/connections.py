"""Connections to servers that an unchecked list of URLs names.

Only http and https are followed, at every redirect, and by default no address of one's own: this
machine, its network, or the metadata service of a cloud. The address is checked once connected, so
that no name can be resolved to another one meanwhile. Behind a proxy it is the proxy's to decide.
After a deadline the connection is cut off, whatever still comes: headers, too, can drip for days.
"""

import http.client
import ipaddress
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

__all__ = ["RefusedError", "opened"]


class RefusedError(Exception):
    """The address is none that is asked; the message says why."""


@contextmanager
def opened(
    request: urllib.request.Request, *, timeout: float, deadline: float, internal: bool
) -> Iterator[http.client.HTTPResponse]:
    """The answer to a request.

    Args:
        timeout: seconds without a byte.
        deadline: seconds until the connection is cut off; what is read then ends or fails.
        internal: whether addresses that are not public may be asked.

    Raises:
        RefusedError: an address that may not be asked.
        OSError, http.client.HTTPException, ValueError: as `urllib.request.urlopen`.
    """
    made: list[socket.socket] = []
    opener = urllib.request.OpenerDirector()
    handlers: tuple[urllib.request.BaseHandler, ...] = (
        urllib.request.ProxyHandler(),
        _Handler(made, internal),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    timer = threading.Timer(deadline, _cut, [made])
    timer.daemon = True
    timer.start()
    try:
        with opener.open(request, timeout=timeout) as answer:
            yield answer
    finally:
        timer.cancel()


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens http and https by connections that are checked, and noted in `made`."""

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, made: list[socket.socket], internal: bool) -> None:
        super().__init__()
        self._made, self._internal = made, internal

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(http.client.HTTPConnection, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(http.client.HTTPSConnection, request)

    def _open(self, kind: Any, request: urllib.request.Request) -> http.client.HTTPResponse:
        by_proxy = request.has_proxy() or getattr(request, "_tunnel_host", None)
        made, check = self._made, not (self._internal or by_proxy)

        class Connection(kind):
            def connect(self) -> None:
                super().connect()
                made.append(self.sock)
                if check:
                    _check(self.sock.getpeername()[0])

        return self.do_open(Connection, request)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.lower().startswith(("http://", "https://")):
            raise RefusedError(f"HTTP {code}: leads to {newurl[:200]}, which is not an http(s) URL")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(address: str) -> None:
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    if not found.is_global or found.is_multicast:
        raise RefusedError(
            f"leads to {found}, an address of one's own network: `fetch.internal: true` permits it"
        )


def _cut(made: list[socket.socket]) -> None:
    for connection in made:
        with suppress(OSError):  # closed already
            connection.shutdown(socket.SHUT_RDWR)
