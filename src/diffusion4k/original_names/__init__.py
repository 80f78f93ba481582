"""Names of modules in the original layouts of base models, one file for each family.

Every file of this package that has `NAMES` is a table; there is no other list.
"""

import importlib
import pkgutil
from functools import cache

from diffusion4k.original_names.names import Module, OriginalNames, Place

__all__ = ["Module", "OriginalNames", "Place", "original_names"]


@cache
def original_names() -> dict[str, OriginalNames]:
    """The tables by the name of the family."""
    modules = [
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
    ]
    tables: list[OriginalNames] = [m.NAMES for m in modules if hasattr(m, "NAMES")]
    return {table.family: table for table in tables}
