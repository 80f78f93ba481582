"""Aesthetic score and match of picture and caption, where CLIP's weights are given."""

import hashlib
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from diffusion4k.curation.engine import Row, mapped
from diffusion4k.curation.entries import LOCATION
from diffusion4k.curation.reading import Reader
from diffusion4k.curation.recipe import ScoresRecipe
from diffusion4k.curation.steps.base import drop, kept
from diffusion4k.curation.store import Store, Work
from diffusion4k.data.images import open_rgb
from diffusion4k.errors import Diffusion4kError
from diffusion4k.metrics.aesthetics import AestheticPredictor
from diffusion4k.metrics.clip import Clip
from diffusion4k.metrics.clip_score import clip_score

if TYPE_CHECKING:
    from daft import DataFrame

__all__ = ["ScoresStep"]

_COLUMNS = {"aesthetic": pa.float64(), "caption_match": pa.float64()}
_BATCH = 8
_FINER = 2
"""A JPEG is decoded to no less than this many times CLIP's side: all that it sees of it."""


class ScoresStep:
    """Drops what scores too low; a picture without caption has no match, which is no reason."""

    name = "scores"

    def __init__(self, wanted: ScoresRecipe, reader: Reader, work: Path) -> None:
        self._wanted, self._reader = wanted, reader
        assert wanted.clip
        clip, predictor = _load(wanted.clip, wanted.aesthetic)
        weights = clip.fingerprint() + (predictor.fingerprint() if predictor else "")
        self._store = Store(work, "scores", _COLUMNS, weights)

    def run(self, table: "DataFrame") -> "DataFrame":
        """Add the columns aesthetic and caption_match."""
        wanted = self._wanted
        # The result depends on the caption, too.
        table = mapped(table, _with_text_key, ["key", "text"], {"scored": pa.string()})
        table = self._store.complete(
            table,
            partial(_begin, self._reader, wanted),
            [*LOCATION, "text"],
            wanted=kept(table),
            batch=_BATCH,
            key="scored",
        )
        rule = partial(_violation, wanted)
        return drop(table, self.name, rule, [*_COLUMNS, "problem"]).exclude("problem", "scored")


def _with_text_key(rows: list[Row]) -> list[Row]:
    texts = (f"{row['key']} {row['text'] or ''}" for row in rows)
    return [{"scored": hashlib.sha256(text.encode()).hexdigest()[:32]} for text in texts]


def _begin(reader: Reader, wanted: ScoresRecipe) -> Work:
    return partial(_scored, reader.again(), wanted)


def _scored(reader: Reader, wanted: ScoresRecipe, row: Row) -> Row:
    clip, predictor = _load(wanted.clip or "", wanted.aesthetic)
    with reader.open(row) as file:
        picture = open_rgb(file, at_least=(_FINER * clip.side, _FINER * clip.side))
    embedding = clip.embed(picture)
    text = row["text"]
    return {
        "aesthetic": predictor(embedding) if predictor else None,
        "caption_match": clip_score(embedding, clip.embed_text(text)) if text else None,
    }


@lru_cache(maxsize=1)
def _load(clip: str, aesthetic: str | None) -> tuple[Clip, AestheticPredictor | None]:
    """The networks, loaded once in a process."""
    key = "clip"
    try:
        model = Clip(clip)
        key = "aesthetic"
        return model, AestheticPredictor(aesthetic, model) if aesthetic else None
    except Diffusion4kError as error:
        raise type(error)(f"scores.{key}: {error}") from None


def _violation(wanted: ScoresRecipe, row: Row) -> str | None:
    if row["problem"]:
        return str(row["problem"])
    for name, least in (
        ("aesthetic", wanted.min_aesthetic),
        ("caption_match", wanted.min_caption_match),
    ):
        value = row[name]
        if least is not None and value is not None and value < least:
            return f"{name}: {value:.4g}, allowed at least {least:g}"
    return None
