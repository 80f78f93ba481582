"""Who may see a local page: whoever knows the token in the address that the command printed.

The first visit brings the token in the address and gets it as a cookie that scripts cannot read
and that other sites' pages cannot send. A request that changes something must also carry a second
token, which only our own page knows, and must come from our own page as far as the browser says.
"""

import hashlib
import hmac
import secrets

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["CSRF_HEADER", "Session", "SessionDoor"]

CSRF_HEADER = "X-CSRF-Token"
_READING = ("GET", "HEAD")
_DOOR = "open the address that the command printed when it started; its token is missing or old"
# A redirect would still count as coming from the page with the link, and with `SameSite=Strict`
# the cookie would not be sent; a page of our own that moves on does not have that trouble.
_ENTRANCE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>diffusion4k</title>'
    '<meta http-equiv="refresh" content="0; url=/">'
    '<link rel="icon" href="/static/icon.svg"><a href="/">Continue</a></html>'
)


class Session:
    """The secrets of one run of a server."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        """256 random bits; part of the address that is printed."""
        self.csrf = hmac.new(self.token.encode(), b"csrf", hashlib.sha256).hexdigest()
        """Token for the page's own requests; nothing about `token` follows from it."""

    def admits(self, token: str) -> bool:
        """Whether it is the token; takes the same time whatever is wrong with it."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def may_change(self, request: Request) -> bool:
        """Whether a request that changes something comes from our own page."""
        headers = request.headers
        if headers.get("origin", f"http://{headers['host']}") != f"http://{headers['host']}":
            return False
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return False
        return hmac.compare_digest(headers.get(CSRF_HEADER, "").encode(), self.csrf.encode())


class SessionDoor:
    """Lets requests through that a `Session` admits."""

    def __init__(self, app: ASGIApp, session: Session, cookie: str) -> None:
        self._app, self._session, self._cookie = app, session, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, open the door, or refuse with 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        answer: ASGIApp
        if request.url.path == "/" and "token" in request.query_params:
            answer = self._enter(request.query_params["token"])
        elif not self._session.admits(request.cookies.get(self._cookie, "")):
            answer = PlainTextResponse(_DOOR, 403)
        elif request.method not in _READING and not self._session.may_change(request):
            answer = PlainTextResponse("not requested by this page: reload it and try again", 403)
        else:
            answer = self._app
        await answer(scope, receive, send)

    def _enter(self, token: str) -> Response:
        if not self._session.admits(token):
            return PlainTextResponse(_DOOR, 403)
        response = HTMLResponse(_ENTRANCE)
        response.set_cookie(self._cookie, token, httponly=True, samesite="strict", path="/")
        return response
