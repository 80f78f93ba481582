"""The page's server: candidates, tiles of their pictures, and what is decided.

    GET  /                               the page
    GET  /static/NAME                    what it loads
    GET  /api/start                      names of measures, reasons
    GET  /api/queue?show=&order=&falling=   numbers of candidates
    GET  /api/candidates/NUMBER          all that is known of one
    POST /api/candidates/NUMBER/decision    {"decision": "rejected", "reason": "motion blur"}
    POST /api/candidates/NUMBER/caption     {"caption": "A lake."}
    POST /api/undo
    GET  /tiles/NUMBER/LEVEL/COLUMN/ROW

Pictures are requested by number alone. Errors are answered in one line of plain text.
"""

import html
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from diffusion4k.config.types import Section, Typed
from diffusion4k.curation.inspection.decisions import Verdict
from diffusion4k.curation.inspection.inspection import REASONS, Inspection
from diffusion4k.errors import Diffusion4kError, one_line
from diffusion4k.web.assets import SHARED, Assets
from diffusion4k.web.deepzoom import OVERLAP, TILE, Tiles
from diffusion4k.web.protection import BodyLimit, HostCheck, SecurityHeaders
from diffusion4k.web.session import Session, SessionDoor

__all__ = ["create_app"]

_BODY_LIMIT = 1 << 16
_STATIC = Path(__file__).parent / "static"


class DecisionBody(Section):
    """A decision as the page sends it."""

    decision: Verdict
    reason: Literal[REASONS] | None = None  # type: ignore[valid-type]


class CaptionBody(Section):
    """A caption as the page sends it."""

    caption: Typed


def create_app(inspection: Inspection, session: Session, *, host: str, cookie: str) -> ASGIApp:
    """The whole application, behind its door.

    Args:
        inspection: The inspection that is served.
        session: Who may.
        host: The address that the server listens on.
        cookie: Name of the session's cookie; cookies do not tell ports apart, names must.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    assets = Assets(SHARED, _STATIC)
    tiles = Tiles()
    page = assets.text("inspect.html").replace("{{ csrf }}", html.escape(session.csrf))

    @app.get("/")
    def index() -> Response:
        return HTMLResponse(page)

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        return assets.respond(name)

    @app.get("/api/start")
    def start() -> dict[str, object]:
        return {"measures": list(inspection.measures), "reasons": REASONS}

    @app.get("/api/queue")
    def queue(
        show: Verdict | None = None, order: str = "", falling: bool = False
    ) -> dict[str, object]:
        return {
            "numbers": inspection.numbers(show, order, falling),
            "progress": asdict(inspection.progress()),
        }

    @app.get("/api/candidates/{number}")
    def candidate(number: int) -> dict[str, object]:
        return describe(inspection, tiles, number)

    @app.post("/api/candidates/{number}/decision")
    def decide(number: int, body: DecisionBody) -> dict[str, object]:
        inspection.decide(number, body.decision, body.reason)
        return describe(inspection, tiles, number)

    @app.post("/api/candidates/{number}/caption")
    def fix_caption(number: int, body: CaptionBody) -> dict[str, object]:
        inspection.fix_caption(number, body.caption)
        return describe(inspection, tiles, number)

    @app.post("/api/undo")
    def undo() -> dict[str, object]:
        name, number = inspection.undo()
        return {"name": name, "number": number, "progress": asdict(inspection.progress())}

    @app.get("/tiles/{number}/{level}/{column}/{row}")
    def tile(number: int, level: int, column: int, row: int) -> Response:
        made = tiles.tile(picture(inspection, number), level, column, row)
        return Response(made.content, media_type=made.media_type)

    @app.exception_handler(Diffusion4kError)
    def refused(_: Request, error: Exception) -> Response:
        return PlainTextResponse(one_line(error, None), 422)

    @app.exception_handler(RequestValidationError)
    def not_understood(_: Request, error: Exception) -> Response:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        key = ".".join(str(part) for part in first.get("loc", ())[1:])
        return PlainTextResponse(f"{key}: {first.get('msg')}".removeprefix(": "), 422)

    guarded: ASGIApp = BodyLimit(SessionDoor(app, session, cookie), _BODY_LIMIT)
    return SecurityHeaders(HostCheck(guarded, host))


def picture(inspection: Inspection, number: int) -> Path:
    """File of a candidate's picture."""
    candidate = inspection.candidate(number)
    if candidate.path is None:
        raise Diffusion4kError(
            f"{candidate.name}: its picture is not a file on this machine: only kept "
            "pictures can be shown"
        )
    return candidate.path


def describe(inspection: Inspection, tiles: Tiles, number: int) -> dict[str, object]:
    """All that the page shows of a candidate."""
    candidate, held = inspection.candidate(number), inspection.holds(number)
    pyramid, problem = None, None
    try:
        found = tiles.pyramid(picture(inspection, number))
    except Diffusion4kError as error:
        problem = str(error)
    else:
        pyramid = {
            "width": found.width,
            "height": found.height,
            "top": found.top,
            "tile": TILE,
            "overlap": OVERLAP,
        }
    # Those by which something is dropped come first.
    measured = sorted(
        (measure for measure in inspection.measures if measure in candidate.measures),
        key=lambda measure: inspection.measures[measure] == (None, None),
    )
    return {
        "number": number,
        "name": candidate.name,
        "pyramid": pyramid,
        "problem": problem,
        "split": candidate.split,
        "kept": candidate.kept,
        "step": candidate.step,
        "dropped_because": candidate.reason,
        "caption": inspection.caption(number),
        "corrected": held is not None and held.caption is not None,
        "decision": held.decision if held else "undecided",
        "reason": held.reason if held else None,
        "measures": [
            {"name": m, "value": candidate.measures[m], "allowed": inspection.measures[m]}
            for m in measured
        ],
        "progress": asdict(inspection.progress()),
    }
