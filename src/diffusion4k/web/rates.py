"""How often someone may ask: a bucket of requests for each, which fills again with time."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Buckets", "RateLimit", "client_address"]

_KNOWN = 10_000  # who asked last; of others nothing is remembered


class Buckets:
    """A bucket for each name: `burst` at once, then `rate` a second."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._levels: OrderedDict[str, _Level] = OrderedDict()

    def allows(self, name: str) -> bool:
        """Whether there is one more for `name`; takes it if so."""
        level = self._filled(name)
        if level.amount < 1:
            return False
        level.amount -= 1
        return True

    def wait(self, name: str) -> float:
        """Seconds until there is one more."""
        return max(1 - self._filled(name).amount, 0) / self._rate

    def _filled(self, name: str) -> "_Level":
        now = self._clock()
        level = self._levels.setdefault(name, _Level(self._burst, now))
        self._levels.move_to_end(name)
        level.amount = min(self._burst, level.amount + (now - level.at) * self._rate)
        level.at = now
        if len(self._levels) > _KNOWN:
            self._levels.popitem(last=False)
        return level


@dataclass
class _Level:
    amount: float
    at: float


class RateLimit:
    """Refuses requests of those who ask too often with 429; `who` says whose a request is."""

    def __init__(self, app: ASGIApp, buckets: Buckets, who: Callable[[Request], str]) -> None:
        self._app, self._buckets, self._who = app, buckets, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse."""
        if scope["type"] == "http":
            name = self._who(Request(scope))
            if not self._buckets.allows(name):
                wait = int(self._buckets.wait(name)) + 1
                refusal = PlainTextResponse(
                    f"too many requests: wait {wait} seconds", 429, {"Retry-After": str(wait)}
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def client_address(request: Request) -> str:
    """Where a request comes from; of an IPv6 address the network that one customer has."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:  # as a socket for both kinds has it
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host
