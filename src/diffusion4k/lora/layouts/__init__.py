"""Layouts of LoRA files, one file for each.

Every file of this package that has `LAYOUT` is one; there is no other list. A key is that of the
first layout that claims it: those with longer prefixes come first, those without any last.
"""

import importlib
import pkgutil
from functools import cache

from diffusion4k.lora.layouts.layout import Layout

__all__ = ["Layout", "layouts", "writable_layouts"]


@cache
def layouts() -> dict[str, Layout]:
    """All of them by name, in the order in which they claim keys."""
    modules = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    ]
    found: list[Layout] = [module.LAYOUT for module in modules if hasattr(module, "LAYOUT")]
    found.sort(
        key=lambda each: (max(map(len, each.prefixes), default=0), each.within), reverse=True
    )
    return {layout.name: layout for layout in found}


def writable_layouts() -> list[str]:
    """The names of those that can be written."""
    return sorted(name for name, layout in layouts().items() if layout.writing)
