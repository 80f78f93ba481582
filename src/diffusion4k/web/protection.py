"""What every answer and every request of a local page has to keep to.

- `HostCheck`: a page of another site can let its own name point at this machine (DNS rebinding)
  and so pass for the same site; the name it calls us by gives it away.
- `BodyLimit`: no request is read further than what any of ours can need.
- `SecurityHeaders`: the browser loads nothing from elsewhere, runs no script that is written into
  the page, shows it in no frame and keeps no copy.
"""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Collection
from functools import lru_cache

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BodyLimit", "HostCheck", "SecurityHeaders", "is_loopback", "own_address", "own_names"]

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


_PATIENCE = 30.0  # seconds for the body of a request


@lru_cache(1024)
def is_loopback(host: str) -> bool:
    """Whether nothing but this machine reaches the address."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def own_address(host: str) -> str:
    """Where browsers find a server that listens on `host`.

    Of all addresses (`0.0.0.0`, `::`) that is the one by which this machine's network knows it.
    """
    if not (_is_address(host) and ipaddress.ip_address(host).is_unspecified):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Sends nothing, but chooses the way that it would go.
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def own_names(host: str) -> list[str]:
    """Names by which others can call a server that listens on `host`."""
    return list(dict.fromkeys([own_address(host), socket.gethostname()]))


class HostCheck:
    """Refuses requests that call this server by a name that is not its own.

    `host` is the address the server listens on; `names` are others by which it is known, as a proxy
    may pass on. Any port is right: a tunnel may have another.
    """

    def __init__(self, app: ASGIApp, host: str, names: Collection[str] = ()) -> None:
        self._app, self._host, self._names = app, host, names
        ours = names or (["127.0.0.1", "localhost"] if is_loopback(host) else own_names(host))
        self._refusal = (
            "This server is not known by the name in your browser's address. Open it as "
            f"{' or '.join(ours)} (with the port, if there was one). Whoever runs it can give it "
            "another name with --address."
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse with 421."""
        if scope["type"] == "http" and not self._is_ours(Headers(scope=scope).get("host", "")):
            answer = PlainTextResponse(self._refusal, 421)
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_ours(self, header: str) -> bool:
        name = header.rpartition("]")[0].removeprefix("[") or header.partition(":")[0]
        if name in self._names or header in self._names:
            return True
        if is_loopback(self._host):
            return is_loopback(name)
        # Addresses in figures need no name server, so nobody can make one point elsewhere.
        return _is_address(name) or name in ("localhost", self._host, socket.gethostname())


class BodyLimit:
    """Reads a request's body before the application does, up to `limit` bytes."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse with 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more, until = b"", True, time.monotonic() + _PATIENCE
        while more:
            try:
                message = await asyncio.wait_for(receive(), max(until - time.monotonic(), 0))
            except asyncio.TimeoutError:
                answer = PlainTextResponse("the request did not arrive in time", 408)
                await answer(scope, receive, send)
                return
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._limit:
                answer = PlainTextResponse(f"more than {self._limit} bytes sent", 413)
                await answer(scope, receive, send)
                return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)


class SecurityHeaders:
    """Adds headers to every answer; `Cache-Control: no-store` unless the answer says otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


@lru_cache(1024)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
