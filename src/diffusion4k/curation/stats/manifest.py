"""What the build of a dataset measured and decided: `manifest.parquet` and `counts.json`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from diffusion4k.curation.files import COUNTS, MANIFEST
from diffusion4k.errors import Diffusion4kError, one_line
from diffusion4k.support.text_files import json_of

__all__ = ["Limit", "Manifest", "StepCount", "read_manifest"]

_RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Limit:
    """A threshold of a measure: at least or at most `value`."""

    kind: str
    """min or max"""
    value: float


@dataclass(frozen=True)
class StepCount:
    """Candidates that a step left and dropped, and how many for which reason."""

    name: str
    kept: int
    dropped: int
    reasons: dict[str, int]

    @property
    def given(self) -> int:
        """Candidates that came to the step."""
        return self.kept + self.dropped


@dataclass(frozen=True)
class Manifest:
    """Candidates of a build."""

    kept: NDArray[np.bool_]
    """`(N,)`"""
    measures: dict[str, NDArray[np.float64]]
    """`(N,)` each, NaN where not measured; without those that never were."""
    limits: dict[str, list[Limit]]
    """Thresholds by measure."""
    steps: list[StepCount]
    """Counts of the steps, in their order."""


def read_manifest(dataset: Path) -> Manifest | None:
    """The manifest of a build's output; None if the folder is none.

    Raises:
        Diffusion4kError: manifest, counts or recipe are damaged.
    """
    path = dataset / MANIFEST
    if not path.is_file():
        return None
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        schema = parquet.read_schema(path)
        names = [field.name for field in schema if pa.types.is_float64(field.type)]
        table = parquet.read_table(path, columns=["kept", *names])
        kept = np.array(table["kept"].to_pylist(), dtype=bool)
        columns = {name: table[name].to_numpy(zero_copy_only=False) for name in names}
        notes = schema.metadata or {}
        recipe = json_of(notes[b"recipe"]) if b"recipe" in notes else _recipe(dataset)
        limits = _limits(recipe) | _thresholds(json_of(notes.get(b"thresholds", "{}")))
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise Diffusion4kError(
            f"{path}: damaged ({one_line(error)}): build the dataset again"
        ) from None
    measures = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    return Manifest(kept, measures, limits, _steps(dataset / COUNTS))


def _steps(counts: Path) -> list[StepCount]:
    if not counts.is_file():
        return []
    try:
        return [
            StepCount(step["step"], int(step["kept"]), int(step["dropped"]), step["reasons"])
            for step in json_of(counts.read_bytes())["steps"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise Diffusion4kError(f"{counts}: damaged ({error}): build the dataset again") from None


def _recipe(dataset: Path) -> object:
    """The recipe beside a manifest that does not hold it."""
    path = dataset / _RECIPE
    if not path.is_file():
        return None
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Diffusion4kError(
            f"{path}: not readable ({one_line(error)}): fix or remove it"
        ) from None


def _thresholds(pairs: Mapping[str, tuple[float | None, float | None]]) -> dict[str, list[Limit]]:
    """Thresholds from the least and the most allowed value of each measure."""
    return {
        name: [
            Limit(k, float(v)) for k, v in zip(("min", "max"), pair, strict=True) if v is not None
        ]
        for name, pair in pairs.items()
    }


def _limits(recipe: object) -> dict[str, list[Limit]]:
    """Thresholds by measure: `min_NAME: 3`, or `{name: NAME, min: 3}`, anywhere in the recipe."""
    limits: dict[str, list[Limit]] = {}
    for name, kind, value in _found(recipe):
        limits.setdefault(name, []).append(Limit(kind, float(value)))
    return limits


def _found(node: object) -> Iterator[tuple[str, str, float]]:
    if isinstance(node, list):
        for child in node:
            yield from _found(child)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        kind, _, name = str(key).partition("_")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind in ("min", "max") and number:
            owner = name or node.get("name")
            if isinstance(owner, str):
                yield owner, kind, value
        yield from _found(value)
