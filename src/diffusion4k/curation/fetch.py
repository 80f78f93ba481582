"""Pictures at URLs: fetched once, with retries, and kept.

Tried again, after a pause that doubles: no answer, a connection that breaks, 408, 429 and 5xx.
What may be asked, and for how long, is in `connections`.
"""

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from diffusion4k import __version__
from diffusion4k.curation.connections import RefusedError, opened
from diffusion4k.curation.recipe import FetchRecipe
from diffusion4k.errors import one_line
from diffusion4k.support.files import write_bytes, writing

__all__ = ["FetchError", "fetch"]

_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_BLOCK = 1 << 20
_LONGEST_PAUSE = 60.0


class FetchError(Exception):
    """The picture did not come; the message says why."""


def fetch(url: str, path: Path, wanted: FetchRecipe) -> Path:
    """`path`, with the content of the URL; nothing is fetched if it exists.

    Raises:
        FetchError: all tries failed, or the answer is over `max_bytes`.
        DiskError: the file cannot be written.
    """
    if path.is_file():
        return path
    for tried in range(wanted.retries + 1):
        try:
            content = _get(url, wanted)
            break
        except _Later as error:
            if tried == wanted.retries:
                raise FetchError(f"not fetched in {tried + 1} tries: {error}") from None
            time.sleep(min(error.pause or wanted.pause * 2**tried, _LONGEST_PAUSE))
    with writing(path):
        write_bytes(path, content)
    return path


class _Later(Exception):
    """Failed, but may succeed another time, after `pause` seconds if the server says so."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def _get(url: str, wanted: FetchRecipe) -> bytes:
    agent = {"User-Agent": f"diffusion4k/{__version__}"}
    try:
        request = urllib.request.Request(url, headers=agent)
        until = time.monotonic() + wanted.deadline
        with opened(
            request, timeout=wanted.timeout, deadline=wanted.deadline, internal=wanted.internal
        ) as answer:
            content = _read(answer, wanted, until)
            length = answer.headers.get("Content-Length")
        if length and length.isdecimal() and len(content) != int(length):
            raise _Later(f"{len(content)} of {length} bytes came")
        return content
    except RefusedError as error:
        raise FetchError(str(error)) from None
    except urllib.error.HTTPError as error:
        if error.code in _AGAIN:
            pause = error.headers.get("Retry-After") or ""
            raise _Later(f"HTTP {error.code}", float(pause) if pause.isdecimal() else 0) from None
        raise FetchError(f"HTTP {error.code}: {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Later(one_line(getattr(error, "reason", None) or error)) from None
    except (ValueError, UnicodeError) as error:
        raise FetchError(f"not a valid URL: {error}") from None


def _read(answer: http.client.HTTPResponse, wanted: FetchRecipe, until: float) -> bytes:
    content = bytearray()
    while block := answer.read1(_BLOCK):
        content += block
        if len(content) > wanted.max_bytes:
            raise FetchError(f"more than {wanted.max_bytes} bytes (fetch.max_bytes)")
    # At the deadline the connection was cut off, which looks like an end.
    if time.monotonic() > until:
        raise _Later(f"not complete after {wanted.deadline:g} s")
    return bytes(content)
