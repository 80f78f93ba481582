"""What is wrong with a recipe as far as it shows before any library is loaded that takes seconds.

`preflight` continues from there, with the model's own code. Nothing is written here.
"""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion4k.data.folder import metadata_of, photo_folder
from diffusion4k.data.sizes import PATCH
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import resolve
from diffusion4k.models.folder import POCKET
from diffusion4k.support.lock import refuse_file
from diffusion4k.support.processes import is_first_here
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.watch.trackers import check_trackers

if TYPE_CHECKING:
    from diffusion4k.planning.plan import Plan

__all__ = [
    "INSTEAD",
    "PreflightFindings",
    "first_look",
    "refuse_problems",
]

INSTEAD: dict[str, Callable[[object], object]] = {
    "model": lambda _: POCKET,
    "output": lambda _: Path("runs") / "unnamed",
    "resolution": lambda found: ceil(found / PATCH) * PATCH if type(found) is int else 1024,
    "steps": lambda _: 10**9,
}
"""What `look_over` takes for a key that is missing or wrong, to find what else is."""


@dataclass
class PreflightFindings:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    plan: "Plan | None" = None

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note as a problem what the block is refused for."""
        try:
            yield
        except Diffusion4kError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))


def refuse_problems(name: str, findings: PreflightFindings) -> None:
    """Raise `UsageError` if there are problems, all of them in it, numbered.

    Of the processes of a machine the first one tells, and the others leave with the same code.
    """
    found = findings.problems
    if found and not is_first_here():
        sys.exit(UsageError.exit_code)
    if len(found) == 1:
        raise UsageError(f"{name}: {found[0]}")
    if found:
        listed = "; ".join(f"({number}) {text}" for number, text in enumerate(found, 1))
        raise UsageError(f"{name}: {len(found)} problems: {listed}")


def first_look(recipe: Recipe, unknown: Collection[str] = ()) -> PreflightFindings:
    """Places that are not there, and packages that are not installed.

    Args:
        unknown: keys whose values are those of `INSTEAD`.
    """
    findings = PreflightFindings()
    with findings.noting():
        refuse_file(recipe.output)
    if "model" not in unknown:
        with findings.noting():
            resolve(recipe.model)
    if recipe.data is not None:
        with findings.noting():
            metadata_of(photo_folder(recipe.data))
    with findings.noting():
        check_trackers(recipe.log)
    return findings
