"""Which measures there are: the classes in files of this package that state their `position`.

Everything else follows from them: the section that names weights (`networks`), the columns of
tables and their order, what is reported as missing, and the names that are taken.
"""

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache

import diffusion4k.metrics
from diffusion4k.config.types import Section
from diffusion4k.metrics.measure import (
    Column,
    Measure,
    MeasureSetup,
    MetricUnavailable,
    Unavailable,
)
from diffusion4k.metrics.settings import MeasureSettings

__all__ = ["known_columns", "make_measures", "measure_kinds"]


@cache
def measure_kinds() -> tuple[type[Measure], ...]:
    """The class of each measure, in the order of tables."""
    files = [file for file in pkgutil.iter_modules(diffusion4k.metrics.__path__) if not file.ispkg]
    modules = [importlib.import_module(f"diffusion4k.metrics.{file.name}") for file in files]
    values = [value for module in modules for value in vars(module).values()]
    found = {each for each in values if isinstance(each, type) and "position" in vars(each)}
    return tuple(sorted(found, key=lambda kind: (kind.position, kind.__name__)))


def known_columns() -> list[Column]:
    """The columns of all measures, whether they can be made here or not."""
    return [column for kind in measure_kinds() for column in kind.columns]


def make_measures(
    settings: MeasureSettings | None = None,
    networks: Section | None = None,
    device: str = "cpu",
    *,
    wanted: Callable[[type[Measure]], bool] = lambda _: True,
) -> tuple[list[Measure], list[Unavailable]]:
    """The measures that can be made here, with all their models loaded, and what is missing.

    Unavailable measures are reported with the reason: no weights named, or a missing package.
    Columns that are missing for one reason are reported together, and stay empty; nothing replaces
    them. Weights that are named but missing, damaged or of another network end the run: nobody
    wants an empty column after hours of work.

    Args:
        settings: options of those that need no weights.
        networks: a `networks.Networks`; None: no weights are named.
        device: where networks compute.
        wanted: which kinds are made; by default all.

    Raises:
        Diffusion4kError: weights that are named and cannot be used.
    """
    setup = MeasureSetup(settings or MeasureSettings(), networks, device)
    measures: list[Measure] = []
    reasons: dict[str, list[str]] = {}
    for kind in filter(wanted, measure_kinds()):
        for columns, make in kind.makers(setup).items():
            try:
                measures.append(make())
            except MetricUnavailable as error:
                reasons.setdefault(str(error), []).extend(columns)
    return measures, [Unavailable(tuple(names), reason) for reason, names in reasons.items()]
