"""What can go wrong with a request, by what is to be done about it.

    Passing    may go well when sent again: overload, time-out, a lost connection, a cut-off answer
    Unwanted   this request never will, others may: the endpoint does not accept it
    a Diffusion4kError    none will: wrong key, unknown model, no money left

A `Passing` failure is `perhaps_billed` where the endpoint may have done the work and only its
answer was lost.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from diffusion4k.endpoint.settings import EndpointSettings
from diffusion4k.errors import Diffusion4kError, one_line

if TYPE_CHECKING:
    import openai

__all__ = ["Failure", "NotFound", "Passing", "Unwanted", "classified", "retry_after"]

_PASSING = (408, 409, 425, 429)
_UNWANTED = (400, 413, 415, 422)
_NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError")


class Failure(Exception):
    """A request without an answer; the text says why in one line."""


class Passing(Failure):
    """May go well when sent again, not before `after` seconds if the endpoint said so."""

    def __init__(
        self, reason: str, *, perhaps_billed: bool = False, after: float | None = None
    ) -> None:
        super().__init__(reason)
        self.perhaps_billed, self.after = perhaps_billed, after


class Unwanted(Failure):
    """The endpoint does not accept this request."""


class NotFound(Diffusion4kError):
    """The endpoint has no such model, address or batch."""


def classified(
    error: Exception, settings: EndpointSettings, hidden: Callable[[str], str]
) -> Exception:
    """What an error of the client library means; `hidden` takes the key out of a text."""
    import openai

    where = settings.url
    if isinstance(error, openai.APIStatusError):
        return _by_status(error, settings, hidden)
    if isinstance(error, openai.APIConnectionError):
        cause = type(error.__cause__).__name__
        sent = cause not in _NEVER_SENT
        if isinstance(error, openai.APITimeoutError):
            what = f"no answer within {settings.timeout:g} s" if sent else "no connection in time"
        else:
            what = "connection lost" if sent else "no connection"
        detail = hidden(one_line(error.__cause__, 120) if error.__cause__ else "")
        reason = f"{where}: {what}{f' ({detail})' if detail else ''}"
        return Passing(reason, perhaps_billed=sent)
    # Of a body that is cut off or no JSON, whatever the parser stumbled upon.
    return Passing(f"{where}: the answer is cut off or not valid JSON", perhaps_billed=True)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `Retry-After` header: a number, or a date; None without one."""
    if value := headers.get("retry-after-ms"):
        with contextlib.suppress(ValueError):
            return max(0.0, float(value) / 1000)
    value = headers.get("retry-after")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _by_status(
    error: "openai.APIStatusError", settings: EndpointSettings, hidden: Callable[[str], str]
) -> Exception:
    status, where = error.status_code, settings.url
    message = _message(error).strip()
    detail = f"HTTP {status}{f': {hidden(one_line(message))}' if message else ''}"
    if status == 401:
        return Diffusion4kError(
            f"{where}: the key in OPENAI_API_KEY is not accepted ({detail}): set another one"
        )
    if status == 403:
        return Diffusion4kError(f"{where}: not permitted ({detail}): check key and endpoint")
    if status == 404:
        return NotFound(
            f"{where}: there is no model {settings.model!r}, or no such address ({detail}): check "
            "model and endpoint"
        )
    if status == 402 or error.code == "insufficient_quota":
        return Diffusion4kError(
            f"{where}: the account has no money left ({detail}): top it up; finished work is kept, "
            "the same command continues"
        )
    if status in _PASSING or status >= 500:
        return Passing(f"{where}: {detail}", after=retry_after(error.response.headers))
    if status in _UNWANTED:
        return Unwanted(f"not accepted by the endpoint ({detail})")
    return Diffusion4kError(f"{where}: unexpected answer ({detail}): check the endpoint's address")


def _message(error: "openai.APIStatusError") -> str:
    if isinstance(error.body, dict) and isinstance(error.body.get("message"), str):
        return error.body["message"]
    # Some servers send a plain text, some a whole page.
    return error.body if isinstance(error.body, str) and "<" not in error.body else ""
