"""The layers of a LoRA by the modules of the original layout that they are or belong to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from diffusion4k.errors import UsageError
from diffusion4k.lora.changes import Change
from diffusion4k.lora.fusing import fuse, parts_of, split
from diffusion4k.lora.layouts import Layout
from diffusion4k.original_names import Module, OriginalNames, Place, original_names

__all__ = ["Group", "candidates", "grouped", "names_for", "table_of"]


@dataclass
class Group:
    """What changes in one module of the original layout: it as a whole, or parts of it."""

    module: Module
    whole: Change | None = None
    parts: dict[str, Change] = field(default_factory=dict)

    def original(self) -> Change:
        """The change of the original module.

        Raises:
            ValueError: the original layout has no form for it.
        """
        return self.whole or fuse(self.parts, self.module)

    def ours(self) -> dict[str, Change]:
        """The changes by diffusers' names.

        Raises:
            ValueError: it cannot be divided into diffusers' layers.
        """
        return split(self.whole, self.module) if self.whole else self.parts


def candidates(layers: Iterable[str], layout: Layout) -> list[str]:
    """The families that have all of these layers."""
    layers = list(layers)
    if layout.names:
        own = layout.names
        return [own.family] if all(own.find(layer) for layer in layers) else []
    return [
        family
        for family, table in original_names().items()
        if all(table.find(layer) for layer in layers)
    ]


def table_of(
    layers: Iterable[str],
    layout: Layout,
    *,
    family: str | None,
    stated: Iterable[str] = (),
) -> OriginalNames | None:
    """The table of names of a file's family; None: none is known and none is asked for.

    Args:
        family: as the user says.
        stated: families that the file's header, or its sizes, speak for.

    Raises:
        UsageError: a family without a table, or more than one that has these layers.
    """
    tables = original_names()
    if family is not None:
        if family not in tables:
            raise UsageError(f"family {family}: allowed are {', '.join(sorted(tables))}")
        return tables[family]
    found = candidates(layers, layout)
    narrowed = [each for each in found if each in stated] or found
    if len(narrowed) > 1:
        raise UsageError(
            f"its layers are those of {' and of '.join(narrowed)}: say which with --family"
        )
    return tables[narrowed[0]] if narrowed else None


def grouped(
    changes: Mapping[str, Change], layout: Layout, table: OriginalNames | None
) -> dict[str, Group]:
    """The changes of a file by original module and parameter.

    Raises:
        ValueError: names a layer that loads nowhere.
    """
    groups: dict[str, Group] = {}
    for key, change in changes.items():
        layer, _, parameter = key.rpartition(".")
        for name, each in _with_known_names(layer, change, layout):
            place = table.find(name) if table else None
            if place is None and (layout.flat or table):
                whose = f"a {table.family} model" if table else "any known model"
                raise ValueError(f"{name} loads nowhere: {whose} has no such layer")
            place = place or Place(Module(name, (name,)), 0)
            group = groups.setdefault(f"{place.module.name}.{parameter}", Group(place.module))
            if place.part is None:
                group.whole = each
            else:
                group.parts[place.layers[0]] = each
    for name, group in groups.items():
        if group.whole and group.parts:
            raise ValueError(f"{name} is there as a whole and in parts")
    return groups


def names_for(groups: Mapping[str, Group], *, original: bool) -> dict[str, Change]:
    """The changes by the names of the original layout, or by diffusers'.

    Raises:
        ValueError: names the layer for which there is no form in the other layout.
    """
    found: dict[str, Change] = {}
    for key, group in groups.items():
        parameter = key.rpartition(".")[2]
        try:
            layers = {group.module.name: group.original()} if original else group.ours()
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
        found |= {f"{name}.{parameter}": change for name, change in layers.items()}
    return found


def _with_known_names(layer: str, change: Change, layout: Layout) -> Iterable[tuple[str, Change]]:
    """A layer that the layout calls as no model does, by diffusers' names; others as they are."""
    place = layout.names.find(layer) if layout.names else None
    return parts_of(change, place).items() if place else [(layer, change)]
