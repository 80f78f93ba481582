"""What the build of a dataset measured and decided: `manifest.parquet`, `recipe.yaml`."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from diffusion4k.errors import Diffusion4kError

__all__ = ["MANIFEST", "Limit", "Manifest", "StepCount", "read_manifest"]

MANIFEST = "manifest.parquet"
_RECIPE, _COUNTS = "recipe.yaml", "counts.json"


@dataclass(frozen=True)
class Limit:
    """A threshold of a measure: at least or at most `value`."""

    kind: str
    """min or max"""
    value: float


@dataclass(frozen=True)
class StepCount:
    """What a step was given, dropped, and why: reasons by the word before their first colon."""

    name: str
    given: int
    dropped: int
    reasons: dict[str, int]

    @property
    def kept(self) -> int:
        """Candidates left after the step."""
        return self.given - self.dropped


@dataclass(frozen=True)
class Manifest:
    """Candidates of a build."""

    kept: NDArray[np.bool_]
    """`(N,)`"""
    measures: dict[str, NDArray[np.float64]]
    """`(N,)` each, NaN where not measured; without those that never were."""
    limits: dict[str, list[Limit]]
    steps: list[StepCount]
    """Those that dropped something, in their order."""


def read_manifest(dataset: Path) -> Manifest | None:
    """The manifest of a build's output; None if the folder is none.

    Raises:
        Diffusion4kError: manifest or recipe are damaged.
    """
    path = dataset / MANIFEST
    if not path.is_file():
        return None
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        schema = parquet.read_schema(path)
        names = [field.name for field in schema if pa.types.is_float64(field.type)]
        table = parquet.read_table(path, columns=["kept", "step", "reason", *names])
        kept = np.array(table["kept"].to_pylist(), dtype=bool)
        steps, reasons = table["step"].to_pylist(), table["reason"].to_pylist()
        columns = {name: table[name].to_numpy(zero_copy_only=False) for name in names}
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Diffusion4kError(f"{path}: damaged ({reason}): build the dataset again") from None
    measures = {
        name: values.astype(np.float64)
        for name, values in columns.items()
        if np.isfinite(values.astype(np.float64)).any()
    }
    counted = _count_steps(steps, reasons, _order(dataset / _COUNTS))
    return Manifest(kept, measures, _read_limits(dataset / _RECIPE), counted)


def _count_steps(
    steps: list[str | None], reasons: list[str | None], order: list[str]
) -> list[StepCount]:
    """Steps that `order` does not name come last, in the order of their first candidate."""
    dropped = Counter(step for step in steps if step)
    why: dict[str, Counter[str]] = {step: Counter() for step in dropped}
    for step, reason in zip(steps, reasons, strict=True):
        if step:
            why[step][(reason or "no reason given").split(":")[0]] += 1
    given, counted = len(steps), []
    for step in dict.fromkeys([*(s for s in order if s in dropped), *dropped]):
        counted.append(StepCount(step, given, dropped[step], dict(why[step].most_common())))
        given -= dropped[step]
    return counted


def _order(counts: Path) -> list[str]:
    """Names of the steps as `counts.json` has them: keys, or objects with a name."""
    try:
        content = json.loads(counts.read_bytes())
    except (OSError, ValueError):
        return []
    steps = content.get("steps", content) if isinstance(content, dict) else content
    if isinstance(steps, dict):
        return list(steps)
    named = (step.get("step", step.get("name")) for step in steps if isinstance(step, dict))
    return [name for name in named if isinstance(name, str)]


def _read_limits(recipe: Path) -> dict[str, list[Limit]]:
    """Thresholds by measure: `min_NAME: 3`, or `{name: NAME, min: 3}`, anywhere in the recipe."""
    if not recipe.is_file():
        return {}
    try:
        content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Diffusion4kError(f"{recipe}: not readable ({reason}): mend or remove it") from None
    limits: dict[str, list[Limit]] = {}
    for name, kind, value in _limits(content):
        limits.setdefault(name, []).append(Limit(kind, float(value)))
    return limits


def _limits(node: Any) -> Iterator[tuple[str, str, float]]:
    if isinstance(node, list):
        for child in node:
            yield from _limits(child)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        kind, _, name = str(key).partition("_")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind in ("min", "max") and number:
            owner = name or node.get("name")
            if isinstance(owner, str):
                yield owner, kind, value
        yield from _limits(value)
