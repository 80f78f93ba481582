"""The study's server: pages of participants and of the owner.

    GET  /                          the participant's page, the same for everybody
    GET  /dashboard                 the owner's
    GET  /static/NAME               what they load
    POST /api/enter                 {"link": SECRET}: who has a personal link gets a cookie
    POST /api/join                  {}: a new participant of an open study, with a link to return
    POST /api/leave                 {}: the cookie is taken back
    GET  /api/me                    what the study is, and how far this participant is
    POST /api/consent               {}
    GET  /api/next                  what is to be seen now
    GET  /api/shown/POSITION        what was answered before
    POST /api/answers               the answers to it (`replies.Reply`)
    GET  /tiles/NAME/LEVEL/COLUMN/ROW
    ...  /api/owner/...             see `dashboard`

Images are requested by names from a table. Errors are answered in one line of plain text.
"""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import StringConstraints
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from diffusion4k.config.types import Section
from diffusion4k.errors import one_line
from diffusion4k.preference.study.access import Cookie, Refusal, hash_of, same_origin
from diffusion4k.preference.study.config import PairwiseTask, RatingTask
from diffusion4k.preference.study.dashboard import add_dashboard
from diffusion4k.preference.study.pace import minutes
from diffusion4k.preference.study.participants import Participant, Presentation
from diffusion4k.preference.study.replies import Reply
from diffusion4k.preference.study.service import EXPIRED, Study
from diffusion4k.web.assets import SHARED, Assets
from diffusion4k.web.protection import BodyLimit, HostCheck, SecurityHeaders
from diffusion4k.web.rates import Buckets, RateLimit, client_address

__all__ = ["create_api", "create_app"]

_BODY_LIMIT = 1 << 16
_STATIC = Path(__file__).parent / "static"
_NO_LINK = "this study is by invitation: open the personal link that was sent to you"
_FOREIGN = "this link does not belong to this study: copy all of it, as it was sent to you"
_DAY = "private, max-age=86400, immutable"
# Whoever looks closely at large images asks for hundreds of tiles at once.
_BURST, _RATE = 3000, 150
# Wrong links, and new participants, from one address: a class of students may share one.
_GUESSES, _JOINS = (1 / 30, 20), (1 / 60, 60)


class LinkBody(Section):
    """The secret of a personal link, as the page sends it."""

    link: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class NothingBody(Section):
    """A request that says nothing more; being JSON, no form of another site can send it."""


def create_api(study: Study, *, cookie: str, origin: str | None) -> FastAPI:
    """The application without what stands before it.

    Args:
        study: What is shown.
        cookie: Name of the cookie; cookies do not tell ports apart, names must.
        origin: The public address, `https://NAME`; by default what a request calls us.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    assets = Assets(SHARED, _STATIC)
    visitors = _Visitors(study, cookie, origin)
    app.include_router(_pages(assets))
    app.include_router(_arrivals(study, visitors))
    app.include_router(_answers(study, visitors))
    owner = Cookie(f"{cookie}-owner", secure=visitors.door.secure)
    add_dashboard(app, study, assets, owner, visitors.require_own_page)
    _add_errors(app)
    return app


class _Visitors:
    """Who a request comes from, and what it may do."""

    def __init__(self, study: Study, cookie: str, origin: str | None) -> None:
        self.study, self.origin = study, origin
        self.door = Cookie(cookie, secure=bool(origin and origin.startswith("https:")))

    # All `async`, though nothing is waited for: others would each be sent to a thread and back.
    async def require_own_page(self, request: Request) -> None:
        if not same_origin(request, self.origin):
            raise Refusal(403, "not requested by this page: reload it and try again")

    async def participant(self, request: Request) -> Participant:
        person = self.study.state.by_link(hash_of(self.door.read(request)))
        if person is None:
            raise Refusal(401, _NO_LINK)
        if person.expired:
            raise Refusal(403, EXPIRED)
        return person

    async def changing(self, request: Request) -> Participant:
        """The participant of a request that changes something."""
        await self.require_own_page(request)
        person = await self.participant(request)
        self.study.secrets.check_change(request, self.door.read(request))
        return person


def _pages(assets: Assets) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    async def index() -> Response:
        return HTMLResponse(assets.text("study.html"))

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        return assets.respond(name)

    return router


def _arrivals(study: Study, visitors: _Visitors) -> APIRouter:
    """How participants come, agree, come back and leave."""
    router = APIRouter(prefix="/api")
    door = visitors.door
    guesses, joins = Buckets(*_GUESSES), Buckets(*_JOINS)
    own_page = [Depends(visitors.require_own_page)]

    @router.post("/enter", dependencies=own_page)
    async def enter(request: Request, body: LinkBody) -> Response:
        address = client_address(request)
        person = await study.find(body.link)
        # Right links pass: whoever else has this address may have tried wrong ones.
        if person is None:
            if not guesses.allows(address):
                raise Refusal(429, "too many wrong links: wait some minutes")
            raise Refusal(403, _FOREIGN)
        await study.check_link(person)
        await study.open(person)
        response = JSONResponse(describe(study, person, body.link))
        door.give(response, body.link)
        return response

    @router.post("/join", dependencies=own_page)
    async def join(request: Request, _: NothingBody) -> Response:
        if not study.config.participants.open:
            raise Refusal(403, _NO_LINK)
        if not joins.allows(client_address(request)):
            raise Refusal(429, "too many new participants from here: wait some minutes")
        secret, person = await study.join()
        response = JSONResponse(describe(study, person, secret) | {"link": secret})
        door.give(response, secret)
        return response

    @router.post("/leave", dependencies=own_page)
    async def leave(_: NothingBody) -> Response:
        response = JSONResponse({})
        door.take(response)
        return response

    @router.get("/me")
    async def me(request: Request) -> dict[str, object]:
        cookie = door.read(request)
        person = study.state.by_link(hash_of(cookie))
        if person is None or person.expired:
            if not study.config.participants.open:
                raise Refusal(401, EXPIRED if person else _NO_LINK)
            return welcome(study)
        return describe(study, person, cookie)

    @router.post("/consent")
    async def consent(
        request: Request,
        person: Annotated[Participant, Depends(visitors.changing)],
        _: NothingBody,
    ) -> dict[str, object]:
        await study.consent(person)
        return describe(study, person, door.read(request))

    return router


def _answers(study: Study, visitors: _Visitors) -> APIRouter:
    """What a participant sees and answers."""
    router = APIRouter()
    participant, changing = Depends(visitors.participant), Depends(visitors.changing)

    @router.get("/api/next")
    async def following(person: Annotated[Participant, participant]) -> dict[str, object]:
        shown = await study.next(person)
        if shown is None:
            return {"finished": True, "done": person.done, "total": person.done}
        return describe_shown(study, person, shown)

    @router.get("/api/shown/{position}")
    async def earlier(
        person: Annotated[Participant, participant], position: int
    ) -> dict[str, object]:
        return describe_shown(study, person, study.earlier(person, position))

    @router.post("/api/answers")
    async def answer(person: Annotated[Participant, changing], body: Reply) -> dict[str, object]:
        await study.answer(person, body)
        return {"kept": body.position, "done": person.done}

    @router.get("/tiles/{name}/{level}/{column}/{row}", dependencies=[participant])
    async def tile(name: str, level: int, column: int, row: int) -> Response:
        made = await study.gallery.tile(name, level, column, row)
        # A name stands for the very content of a file, so that a copy never grows old.
        return Response(made.content, media_type=made.media_type, headers={"Cache-Control": _DAY})

    return router


def _add_errors(app: FastAPI) -> None:
    """Errors are answered in one line of plain text."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Exception) -> Response:
        status = error.status if isinstance(error, Refusal) else 500
        return PlainTextResponse(one_line(error, None), status)

    @app.exception_handler(HTTPException)
    async def no_such(_: Request, error: Exception) -> Response:
        found = error if isinstance(error, HTTPException) else HTTPException(500)
        return PlainTextResponse(found.detail, found.status_code, found.headers)

    @app.exception_handler(RequestValidationError)
    async def not_understood(_: Request, error: Exception) -> Response:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        key = ".".join(str(part) for part in first.get("loc", ())[1:])
        return PlainTextResponse(f"{key}: {first.get('msg')}".removeprefix(": "), 422)


def create_app(study: Study, *, host: str, cookie: str, origin: str | None = None) -> ASGIApp:
    """The whole application; `host` is the address that the server listens on."""
    app = create_api(study, cookie=cookie, origin=origin)
    door = Cookie(cookie, secure=bool(origin and origin.startswith("https:")))

    def who(request: Request) -> str:
        person = study.state.by_link(hash_of(door.read(request)))
        return person.name if person else client_address(request)

    limited: ASGIApp = RateLimit(BodyLimit(app, _BODY_LIMIT), Buckets(_RATE, _BURST), who)
    names = [origin.partition("://")[2]] if origin else []
    return SecurityHeaders(HostCheck(limited, host, names))


def welcome(study: Study) -> dict[str, object]:
    """What a page shows before anyone takes part."""
    config, task = study.config, study.config.task
    questions: list[dict[str, str]] = []
    if isinstance(task, PairwiseTask):
        questions = [{"name": q.name, "title": q.title, "text": q.text} for q in task.questions]
    elif isinstance(task, RatingTask):
        questions = [{"name": "rating", "title": "Rating", "text": task.question}]
    return {
        "title": config.title,
        "kind": task.kind,
        "questions": questions,
        "tie": isinstance(task, PairwiseTask) and task.tie,
        "consent": config.consent,
        "thanks": config.thanks,
        "participant": None,
        "total": study.state.total,
        "minutes": minutes(config, study.state, study.state.total),
    }


def describe(study: Study, person: Participant, cookie: str) -> dict[str, object]:
    """The same, and how far a participant is."""
    return welcome(study) | {
        "participant": person.name,
        "consented": person.consented,
        "done": person.done,
        "total": person.total,
        "csrf": study.secrets.csrf(cookie),
    }


def describe_shown(study: Study, person: Participant, shown: Presentation) -> dict[str, object]:
    """What a page learns about what it shows: nothing about models or checks."""
    paths = shown.unit.paths[::-1] if shown.swapped else shown.unit.paths
    return {
        "position": shown.position,
        "done": person.done,
        "total": max(person.total, len(person.shown)),
        "text": shown.unit.text,
        "pictures": [study.gallery.describe(path) for path in paths],
        "choices": shown.choices,
        "detail": shown.detail,
    }
