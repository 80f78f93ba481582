"""The owner's side of the server: what the study has come to, and files of its answers.

POST /api/owner/enter           {"token": TOKEN}
GET  /api/owner/summary?without_flagged=
GET  /api/owner/export/FORMAT   csv, jsonl, parquet
"""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import StringConstraints
from starlette.concurrency import run_in_threadpool

from diffusion4k.config.types import Section
from diffusion4k.preference.study.access import Cookie, Refusal
from diffusion4k.preference.study.export import export
from diffusion4k.preference.study.service import Study
from diffusion4k.preference.study.summary import summarise
from diffusion4k.web.assets import Assets
from diffusion4k.web.rates import Buckets, client_address

__all__ = ["add_dashboard"]

_GUESSES = (1 / 30, 20)  # wrong tokens a second, and at once, from one address
_FRESH = 3.0  # seconds that a summary is good for, however many look at it
_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}


class TokenBody(Section):
    """The owner's token, as the page sends it."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=200)]


def add_dashboard(
    app: FastAPI,
    study: Study,
    assets: Assets,
    door: Cookie,
    own_page: Callable[[Request], Awaitable[None]],
) -> None:
    """Add the owner's routes."""
    guesses = Buckets(*_GUESSES)
    known: dict[bool, tuple[float, dict[str, object]]] = {}

    async def owner(request: Request) -> None:
        if not study.secrets.is_owner(door.read(request)):
            raise Refusal(
                401, "open the dashboard's address as `diffusion4k study serve` prints it"
            )

    @app.get("/dashboard")
    async def page() -> Response:
        return HTMLResponse(assets.text("dashboard.html"))

    @app.post("/api/owner/enter", dependencies=[Depends(own_page)])
    async def enter(request: Request, body: TokenBody) -> Response:
        address = client_address(request)
        if not study.secrets.is_owner(body.token):
            if not guesses.allows(address):
                raise Refusal(429, "too many wrong tokens: wait some minutes")
            raise Refusal(403, "this is not the owner's token")
        response = JSONResponse({"name": study.config.name})
        door.give(response, body.token)
        return response

    @app.get("/api/owner/summary", dependencies=[Depends(owner)])
    async def summary(without_flagged: bool = False) -> dict[str, object]:
        at, found = known.get(without_flagged, (0.0, {}))
        if not found or time.monotonic() - at > _FRESH:
            found = await run_in_threadpool(
                lambda: summarise(study.config, study.state, without_flagged=without_flagged)
            )
            known[without_flagged] = time.monotonic(), found
        return found

    @app.get("/api/owner/export/{format}", dependencies=[Depends(owner)])
    async def download(format: Literal["csv", "jsonl", "parquet"]) -> Response:
        def make() -> bytes:
            with TemporaryDirectory() as folder:
                path = Path(folder) / f"answers.{format}"
                export(study.config, study.state, path)
                return path.read_bytes()

        name = f"{study.config.name}.{format}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        content = await run_in_threadpool(make)
        return Response(content, media_type=_TYPES[format], headers=headers)
