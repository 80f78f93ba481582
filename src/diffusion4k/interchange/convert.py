"""A LoRA from one layout to another, with a proof that it still changes the same weights."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.interchange.proof import Proof, prove
from diffusion4k.interchange.sizes import stated_families
from diffusion4k.lora import Adapter, read_adapter
from diffusion4k.lora.changes import Change
from diffusion4k.lora.file import find_file
from diffusion4k.lora.header import CONFIG_KEY
from diffusion4k.lora.naming import grouped, names_for, table_of
from diffusion4k.lora.stored import open_file
from diffusion4k.lora.writing import check_layout, layout_path, write_layout
from diffusion4k.original_names import OriginalNames

__all__ = ["Conversion", "convert"]

Track: TypeAlias = Callable[[Iterable[Proof], int], Iterable[Proof]]


@dataclass(frozen=True)
class Conversion:
    """What was written, and the proof of each module."""

    path: Path
    source: Adapter
    proofs: tuple[Proof, ...]

    @property
    def worst(self) -> Proof:
        """The module with the largest difference."""
        return max(self.proofs, key=lambda proof: proof.relative)


def convert(
    source: str | Path,
    target: str | Path,
    layout: str,
    *,
    family: str | None = None,
    each: Track | None = None,
) -> Conversion:
    """Write the LoRA `source` as `target`, wholly or not at all.

    Args:
        target: a .safetensors file; of PEFT's layout a folder.
        layout: comfyui, diffusers, kohya or peft.
        family: whose layers they are, where the file leaves that open.
        each: wraps the proofs, which come one by one, and gets their number.

    Raises:
        UsageError: a target that is there already or has a wrong name, an unknown layout or family.
        Diffusion4kError: the file cannot be read, has a layer that loads nowhere, has no form in
            the layout, or would not change the same weights.
    """
    written = check_layout(layout)
    assert written.writing
    out = Path(target)
    if out.exists():
        raise UsageError(f"{out}: already exists: choose another name")
    destination = layout_path(out, layout)
    adapter = read_adapter(source)
    metadata = dict(open_file(find_file(source)).metadata)
    try:
        layers = [key.rpartition(".")[0] for key in adapter.changes]
        shapes = [change.shape for change in adapter.changes.values()]
        stated = stated_families(metadata, shapes)
        table = table_of(layers, adapter.layout, family=family, stated=stated)
        changes = names_for(
            grouped(adapter.changes, adapter.layout, table), original=written.writing.original
        )
    except (UsageError, ValueError) as error:
        kind = UsageError if isinstance(error, UsageError) else Diffusion4kError
        raise kind(f"{adapter.path}: {error}") from None
    if written.writing.original and table is None:
        raise Diffusion4kError(
            f"{adapter.path}: no table of original names has its layers: {layout} needs one"
        )
    metadata.pop(CONFIG_KEY, None)
    trial = out.with_name(f".{out.name}.trial")
    shutil.rmtree(trial, ignore_errors=True)  # of a run that was killed
    try:
        trial.mkdir(parents=True)
        proofs = _written_and_proven(
            trial / destination.name, changes, metadata, layout, adapter, table, each
        )
        trial.replace(out) if layout == "peft" else (trial / destination.name).replace(out)
    except Diffusion4kError as error:
        raise type(error)(str(error).replace(str(trial / destination.name), str(out))) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(out)) from error
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    return Conversion(destination, adapter, proofs)


def _written_and_proven(
    path: Path,
    changes: Mapping[str, Change],
    metadata: Mapping[str, str],
    layout: str,
    adapter: Adapter,
    table: OriginalNames | None,
    each: Track | None,
) -> tuple[Proof, ...]:
    try:
        write_layout(changes, metadata, layout, path)
    except Diffusion4kError as error:
        raise type(error)(f"{adapter.path}: {error}") from None
    proofs = prove(adapter, read_adapter(path), table)
    return tuple(each(proofs, len(changes)) if each else proofs)
