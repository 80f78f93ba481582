"""Rate limits: in no 60 seconds more requests or tokens than allowed.

    requests in (t - 60, t] <= requests per minute,  tokens likewise

Who would break the rule waits until enough of the past has left the window. An endpoint that
answers 429 with Retry-After makes all wait.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

__all__ = ["RateLimits"]

_WINDOW = 60.0


class RateLimits:
    """Limits on requests and tokens, None for none; tests can replace clock and sleep."""

    def __init__(
        self,
        requests: int | None,
        tokens: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._requests, self._tokens = requests, tokens
        self._clock, self._sleep = clock, sleep
        self._past: deque[tuple[float, int]] = deque()
        self._used = 0
        self._not_before = 0.0
        self._turn = asyncio.Lock()

    async def wait(self, tokens: int) -> None:
        """Until a request of so many tokens may be sent, first come, first served."""
        async with self._turn:
            while (seconds := self._still(tokens)) > 0:
                await self._sleep(seconds)
            if self._requests or self._tokens:
                self._past.append((self._clock(), tokens))
                self._used += tokens

    def pause(self, seconds: float) -> None:
        """Let nothing be sent for so long."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    def _still(self, tokens: int) -> float:
        """Seconds until it is worth looking again; 0 if the request may go."""
        now = self._clock()
        while self._past and self._past[0][0] <= now - _WINDOW:
            self._used -= self._past.popleft()[1]
        if now < self._not_before:
            return self._not_before - now
        full = bool(self._requests) and len(self._past) >= (self._requests or 0)
        # One request above the whole limit goes when it is alone: it can never fit.
        full |= bool(self._tokens and self._past) and self._used + tokens > (self._tokens or 0)
        # A hair more than needed, as the clock's rounding may else ask for a sleep of 0.
        return self._past[0][0] + _WINDOW - now + 1e-3 if full else 0.0
