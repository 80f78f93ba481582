"""The index of a cache: where in which shard each tensor stands, in tables mapped from the disk.

    index.json               settings, names and sizes of the shards, names of the tables
    samples-<hash>.npy       of each photograph: latents, mirrored latents, number of its caption
    captions-<hash>.npy      of each caption: its tensors; number 0 is the empty one
    names-<hash>.txt         file names, one after the other

A million photographs take 100 MB on the disk and next to nothing in memory: of a table only what is
asked for is read. The tables are written first and `index.json` last, so that it always speaks of
tables that are whole.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_core import PydanticCustomError

from diffusion4k.config.problems import describe_problems
from diffusion4k.config.types import Count
from diffusion4k.data.shards import Dtype, Location, Shards
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.files import is_file_name, write_bytes, write_text
from diffusion4k.support.text_files import json_of

__all__ = ["INDEX", "INDEX_FORMAT", "Index", "SampleKeys", "table_names", "write_index"]

INDEX = "index.json"
INDEX_FORMAT = 2
_DIMENSIONS = 4
_PLACE = np.dtype(
    [("shard", "<i4"), ("crc", "<u4"), ("offset", "<i8"), ("shape", "<i4", _DIMENSIONS)]
)
_SAMPLE = np.dtype(
    [("latents", _PLACE), ("flipped", _PLACE), ("caption", "<i8"), ("name_end", "<i8")]
)
_MOST_BYTES = 1 << 28  # of `index.json`: names of shards, no photographs
_ABSENT = -1  # as number of a shard


@dataclass(frozen=True)
class SampleKeys:
    """A photograph and the keys of what is stored of it."""

    file_name: str
    text: str
    latents: str
    flipped: str | None


class Index:
    """Reads an index.

    Attributes:
        settings: those that were given to `write_index`.
        shards: name and size of each shard, by number.
        sizes: `(N, 2)` int32, width and height of each photograph's latents.
    """

    def __init__(self, folder: Path) -> None:
        """Open the index in `folder`.

        Raises:
            Diffusion4kError: there is none, or it is of another version or damaged.
        """
        content = _read(folder / INDEX)
        self.settings = content.settings
        self.shards: list[tuple[str, int]] = content.shards
        self._latents, self._parts = content.latents, content.conditioning
        samples, captions, names = content.tables
        try:
            self._samples = np.load(folder / samples, mmap_mode="r", allow_pickle=False)
            self._captions = np.load(folder / captions, mmap_mode="r", allow_pickle=False)
            self._names = np.memmap(folder / names, mode="r")
            if self._samples.shape != (content.count,) or self._samples.dtype != _SAMPLE:
                raise ValueError("not the table that was written")
            kinds = np.dtype([(name, _PLACE) for name in self._parts])
            if self._captions.ndim != 1 or self._captions.dtype != kinds:
                raise ValueError("not the table of captions that was written")
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(folder / INDEX, error) from None

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def sizes(self) -> np.ndarray:
        """Width and height of each photograph's latents, `(N, 2)` int32."""
        return np.asarray(self._samples["latents"]["shape"][:, 2:0:-1])

    def file_name(self, sample: int) -> str:
        """File name of a photograph, in the image folder."""
        start = self._samples["name_end"][sample - 1] if sample else 0
        return bytes(self._names[start : self._samples["name_end"][sample]]).decode()

    def latents(self, sample: int, *, flipped: bool = False) -> Location | None:
        """Where the latents of a photograph are; None of a mirror image that is not stored."""
        place = self._samples[sample]["flipped" if flipped else "latents"]
        return self._location(place, self._latents)

    def conditioning(self, sample: int | None) -> dict[str, Location]:
        """Where the tensors of a photograph's caption are; with None those of the empty one."""
        row = self._captions[0 if sample is None else self._samples["caption"][sample]]
        places = {name: self._location(row[name], kind) for name, kind in self._parts.items()}
        return {name: place for name, place in places.items() if place}

    def _location(self, place: np.void, kind: "_Kind") -> Location | None:
        number, offset = int(place["shard"]), int(place["offset"])
        if number == _ABSENT:
            return None
        shape = tuple(place["shape"][: kind.dimensions].tolist())
        if not 0 <= number < len(self.shards) or offset < 0 or min(shape, default=0) < 0:
            raise Diffusion4kError(
                f"table of a cache: damaged (shard {number}, offset {offset}, shape {shape}): "
                "build the cache again, the shards are kept"
            )
        return Location(self.shards[number][0], offset, kind.dtype, shape, int(place["crc"]))


def write_index(
    folder: Path,
    shards: Shards,
    samples: Sequence[SampleKeys],
    *,
    empty: str,
    settings: Mapping[str, object],
) -> None:
    """Write the index of `samples`, whose tensors are in `shards`; `empty` is the empty caption."""
    texts = {empty: 0}
    for sample in samples:
        texts.setdefault(sample.text, len(texts))
    latents = [key for sample in samples for key in (sample.latents, sample.flipped) if key]
    used = {place.shard for key in (*texts, *latents) for place in shards.locate(key).values()}
    files = [(name, size) for name, size in shards.files if name in used]
    numbers = {name: number for number, (name, _) in enumerate(files)}

    def place(location: Location) -> tuple[object, ...]:
        shape = (*location.shape, *(0,) * (_DIMENSIONS - len(location.shape)))
        return numbers[location.shard], location.checksum, location.offset, shape

    def kind(location: Location) -> dict[str, object]:
        return {"dtype": location.dtype, "dimensions": len(location.shape)}

    parts = shards.locate(empty)
    captions = np.zeros(len(texts), [(name, _PLACE) for name in parts])
    for key, number in texts.items():
        located = shards.locate(key)
        captions[number] = tuple(place(located[name]) for name in parts)

    table = np.zeros(len(samples), _SAMPLE)
    table["flipped"]["shard"] = _ABSENT
    names = [sample.file_name.encode() for sample in samples]
    table["name_end"] = np.cumsum([len(name) for name in names])
    for number, sample in enumerate(samples):
        table["latents"][number] = place(shards.locate(sample.latents)["latents"])
        table["caption"][number] = texts[sample.text]
        if sample.flipped:
            table["flipped"][number] = place(shards.locate(sample.flipped)["latents"])
    tables = [
        _write(folder, "samples-{}.npy", _npy(table)),
        _write(folder, "captions-{}.npy", _npy(captions)),
        _write(folder, "names-{}.txt", b"".join(names)),
    ]
    content = {
        "format": INDEX_FORMAT,
        "settings": dict(settings),
        "shards": files,
        "latents": kind(shards.locate(samples[0].latents)["latents"]),
        "conditioning": {name: kind(location) for name, location in parts.items()},
        "count": len(samples),
        "tables": tables,
    }
    write_text(folder / INDEX, json.dumps(content, indent=1))
    for pattern in ("samples-*.npy", "captions-*.npy", "names-*.txt"):
        for old in folder.glob(pattern):
            if old.name not in tables:
                old.unlink()


def _write(folder: Path, name: str, content: bytes) -> str:
    name = name.format(hashlib.sha256(content).hexdigest()[:16])
    write_bytes(folder / name, content)
    return name


def _npy(table: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, table, allow_pickle=False)
    return file.getvalue()


def table_names(folder: Path) -> tuple[str, ...]:
    """Names of the tables beside the index in `folder`; none of them leads out of it.

    Raises:
        Diffusion4kError: as `Index`.
    """
    return _read(folder / INDEX).tables


def _checked_name(name: str) -> str:
    if not is_file_name(name):
        raise PydanticCustomError("file_name", "Input should be the name of a file, not a path")
    return name


FileName = Annotated[str, AfterValidator(_checked_name)]
Size = Annotated[int, Field(strict=True, ge=0, lt=1 << 62)]


class _Kind(BaseModel):
    """How tensors of one name are stored."""

    dtype: Dtype
    dimensions: Annotated[int, Field(strict=True, ge=0, le=_DIMENSIONS)]


class IndexSettings(BaseModel, extra="allow", protected_namespaces=()):
    """What the reader of a cache needs of its settings."""

    resolution: Count
    dtype: Dtype
    family: str
    factor: Count
    model: str
    flip: bool
    fingerprints: dict[str, str]
    longest: float | None = None
    posterior: bool = False
    enlarge: bool = True
    enlargement: Count | None = None


class _Content(BaseModel):
    """`index.json`, which may come from a network: no name in it leads out of the cache."""

    settings: IndexSettings
    shards: list[tuple[FileName, Size]]
    latents: _Kind
    conditioning: dict[str, _Kind]
    count: Size
    tables: tuple[FileName, FileName, FileName]


def _damaged(path: Path, reason: object) -> Diffusion4kError:
    return Diffusion4kError(
        f"{path}: damaged ({reason}): build the cache again, the shards are kept"
    )


def _read(path: Path) -> _Content:
    if not path.is_file():
        raise Diffusion4kError(
            f"{path.parent}: no complete cache ({INDEX} is missing): build it with "
            "`diffusion4k cache`; a build that was stopped continues where it was"
        )
    if path.stat().st_size > _MOST_BYTES:
        raise _damaged(path, f"{path.stat().st_size} bytes")
    try:
        index = json_of(path.read_bytes())
    except ValueError as error:
        raise Diffusion4kError(
            f"{path}: not valid JSON ({error}): delete it and build the cache again, "
            "the shards are kept"
        ) from None
    if not isinstance(index, dict) or index.get("format") != INDEX_FORMAT:
        found = index.get("format") if isinstance(index, dict) else None
        raise Diffusion4kError(
            f"{path}: cache format {found}, this version reads {INDEX_FORMAT}: build the cache "
            "again, the shards are kept"
        )
    try:
        return _Content.model_validate(index)
    except ValidationError as error:
        raise _damaged(path, describe_problems(error, _Content, index)) from None
