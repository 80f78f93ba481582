"""Who may do what: secrets of participants and of the owner, and where requests come from.

A secret has 256 random bits. It is the part of an address behind `#`, which browsers send nowhere;
the page hands it over once and gets it back as a cookie that scripts cannot read. Of participants'
secrets only the SHA-256 is kept. A request that changes something carries a second token that
belongs to the cookie, so that a page left open under one link cannot answer under another.
"""

import hashlib
import hmac
import os
import re
import secrets
from datetime import datetime, timedelta, timezone
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from diffusion4k.errors import Diffusion4kError
from diffusion4k.preference.study.store import now
from diffusion4k.preference.study.tables import ParticipantRow
from diffusion4k.support.text_files import check_plain
from diffusion4k.web.session import CSRF_HEADER

__all__ = ["Cookie", "Refusal", "Secrets", "hash_of", "new_participant", "same_origin"]

_FILE = "secret"


class Refusal(Diffusion4kError):
    """A request that is refused, with HTTP's number for it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Secrets:
    """What follows from the one secret of a server, kept in the study's folder."""

    def __init__(self, folder: Path) -> None:
        path = folder / _FILE
        try:
            # Made at once with its rights, and by one of two who try.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(handle)
        check_plain(path)
        with path.open("rb") as file:
            self._key = file.read(100).strip()
        if not re.fullmatch(rb"[0-9a-f]{64}", self._key):
            raise Diffusion4kError(
                f"{path}: found {len(self._key)} bytes, allowed are 64 digits (0-9, a-f): put a "
                "backup in its place, or remove it, which changes the dashboard's address"
            )

    @property
    def owner(self) -> str:
        """Opens the dashboard."""
        return self._derive("owner")

    def is_owner(self, token: str) -> bool:
        """Whether it is the owner's; takes the same time whatever is wrong with it."""
        return hmac.compare_digest(token.encode(), self.owner.encode())

    def csrf(self, cookie: str) -> str:
        """Token for the requests of the page that has this cookie."""
        return self._derive(f"csrf/{cookie}")

    def picture(self, name: str) -> str:
        """What a page calls an image; it tells nothing about it."""
        return self._derive(f"picture/{name}")[:32]

    def check_change(self, request: Request, cookie: str) -> None:
        """Refuse a request that does not come from our own page.

        Raises:
            Refusal: 403.
        """
        found = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(found.encode(), self.csrf(cookie).encode()):
            raise Refusal(403, "this page belongs to another link, or is old: reload it")

    def _derive(self, use: str) -> str:
        return hmac.new(self._key, use.encode(), hashlib.sha256).hexdigest()


class Cookie:
    """A cookie for one server; with `secure` browsers send it by HTTPS alone."""

    def __init__(self, name: str, *, secure: bool) -> None:
        self._name, self.secure = f"__Host-{name}" if secure else name, secure

    def read(self, request: Request) -> str:
        """Value of the cookie; empty if there is none."""
        return request.cookies.get(self._name, "")

    def give(self, response: Response, value: str) -> None:
        """Set it until the browser is closed."""
        response.set_cookie(
            self._name, value, httponly=True, samesite="strict", path="/", secure=self.secure
        )

    def take(self, response: Response) -> None:
        """Remove it."""
        response.delete_cookie(self._name, path="/", secure=self.secure, httponly=True)


def same_origin(request: Request, origin: str | None) -> bool:
    """Whether a request comes from a page of this server, as far as the browser says.

    `origin` is the public address; by default the one that the request itself names.
    """
    headers = request.headers
    ours = origin or f"http://{headers.get('host', '')}"
    if headers.get("origin", ours) != ours:
        return False
    return headers.get("sec-fetch-site", "same-origin") == "same-origin"


def hash_of(secret: str) -> str:
    """Hash by which a personal link is known."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_participant(days: int) -> tuple[str, ParticipantRow]:
    """The secret of a new personal link, and the row to be kept."""
    secret = secrets.token_urlsafe(32)
    until = datetime.now(timezone.utc) + timedelta(days=days)
    row = ParticipantRow(link=hash_of(secret), until=until.isoformat(timespec="seconds"), at=now())
    return secret, row
