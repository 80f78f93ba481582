"""`--model FILE.safetensors`: a transformer in one file, made a model by what goes with it.

Its family and configuration are those that the file's header names (`diffusion4k export` writes
them), else those of the published model whose transformer has these names and shapes. The other
parts come, in this order, from what stands as `parts_from` in `FILE.json` beside the file (the
same keys as in a model folder's `diffusion4k.json`), from what its header names, or from that
published model. A small folder in the user's cache joins them; the weights stay where they are.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.component import SINGLE_FILE, check_config
from diffusion4k.families.single_file import Reading, names_in, reading_of, shapes_of
from diffusion4k.families.text_components import stock_class
from diffusion4k.models.folder import PARTS_FROM, SETTINGS, bundled_models, read_json, resolve
from diffusion4k.models.hub import is_hub_id
from diffusion4k.models.layout import original_layout
from diffusion4k.models.published import published_config, published_models
from diffusion4k.support.tensor_file import TensorFile
from diffusion4k.support.text_files import json_of, shortened

if TYPE_CHECKING:
    from diffusion4k.families.base import Family

__all__ = ["RECORD", "Identified", "identified", "model_folder", "record_of"]

RECORD = "diffusion4k"
"""What files written here say of themselves, in their header's metadata."""


@dataclass(frozen=True)
class Identified:
    """What a file holds: the transformer of which family, with which configuration."""

    family: "type[Family]"
    config: dict[str, Any]
    reading: Reading
    parts_from: str | None
    """A model with the other parts: a bundled one, or a hub id."""


def model_folder(path: Path, parts: Collection[str] | None = None) -> Path:
    """A folder that is the model of this file: see the module's text.

    Raises:
        UsageError: no model is known that has its other parts.
        Diffusion4kError: the file is damaged, or of no transformer that is known.
    """
    found = identified(TensorFile(path))
    beside = path.with_suffix(".json")
    settings = dict(read_json(beside)) if beside.is_file() else {}
    others = settings.get(PARTS_FROM, found.parts_from)
    if others is None:
        raise UsageError(
            f"{path}: a {found.family.name} transformer alone, of none of the published sizes: say "
            f'in {beside} where text encoders and autoencoder are: {{"{PARTS_FROM}": "folder or '
            'owner/name"}'
        )
    if isinstance(others, str) and (path.parent / others).is_dir():
        others = str((path.parent / others).resolve())
    elif not _is_name(others):
        raise UsageError(
            f"{beside}: {PARTS_FROM} is {shortened(others)}: allowed is a folder (relative to this "
            "one), a bundled model or a hub id"
        )
    stat = path.stat()
    state = [str(path.resolve()), stat.st_size, stat.st_mtime_ns, found.config]
    name = hashlib.sha256(json.dumps([*state, settings, others]).encode()).hexdigest()[:16]
    folder = _cache() / name
    if not folder.exists():
        config = {"_class_name": _class_name(found.family), **found.config}
        _lay_out(folder, path.resolve(), config, {**settings, PARTS_FROM: others})
    return resolve(folder, parts)


def identified(file: TensorFile) -> Identified:
    """Family and configuration of the transformer in a file.

    Raises:
        Diffusion4kError: names of no family that is known, or sizes of no model that is.
    """
    family = _family_of(file)
    record = record_of(file)
    if record.get("family") == family.name and isinstance(record.get("config"), dict):
        others, config = record.get(PARTS_FROM), record["config"]
        reading = _reading(file, family, config, "what its header says")
        return Identified(family, config, reading, others if _is_name(others) else None)
    problems: list[str] = []
    for hub_id, config in _published(family):
        try:
            reading = _reading(file, family, config, f"the transformer of {hub_id}")
            return Identified(family, config, reading, hub_id)
        except Diffusion4kError as error:
            problems.append(str(error))
    raise Diffusion4kError(
        f"{file.path}: a {family.name} transformer, but of none of the published models: "
        f"{problems[0].partition(': ')[2] if problems else 'none is known'}"
    )


def record_of(file: TensorFile) -> dict[str, Any]:
    """What a file written here says of itself; empty for others."""
    try:
        record = json_of(file.metadata.get(RECORD, "{}"))
    except (TypeError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_name(model: Any) -> bool:
    """Whether it is that of a bundled model or of one on the hub."""
    return isinstance(model, str) and (model in bundled_models() or is_hub_id(model))


def _family_of(file: TensorFile) -> "type[Family]":
    """The family by whose layout most of the names in the file are known."""
    from diffusion4k.families import families

    known: dict[str, int] = {}
    by_name = {each.name: each for each in families().values()}
    names: dict[str, str] = {}
    for name in by_name:
        if layout := original_layout(name):
            names = names_in(file, layout)
            known[name] = sum(layout.is_original(n) or layout.is_ours(n) for n in names)
    best = max(known, key=lambda name: known[name])
    if not known[best] or 2 * known[best] < len(names):
        raise Diffusion4kError(
            f"{file.path}: not a transformer of {', '.join(known)}: its first layer is "
            f"{next(iter(file.tensors), 'none')}: give a file of one, or a model folder"
        )
    found: type[Family] = by_name[best]
    return found


def _published(family: "type[Family]") -> Iterator[tuple[str, dict[str, Any]]]:
    seen = []
    for hub_id, model in published_models().items():
        if model["pipeline_class"] == family.pipeline_class:
            part = model["components"]["transformer"]
            if part not in seen:
                yield hub_id, published_config(hub_id, "transformer")["config"]
            seen.append(part)


def _reading(
    file: TensorFile, family: "type[Family]", config: Mapping[str, Any], whose: str
) -> Reading:
    kind = stock_class(family.components["transformer"][0])
    check_config(file.path, dict(config))
    try:
        with torch.device("meta"):
            network = kind.from_config(dict(config))
    except Exception as error:
        raise Diffusion4kError(
            f"{file.path}: the configuration in its header fits no {kind.__name__}: {error}"
        ) from None
    return reading_of(file, original_layout(family.name), shapes_of(network), whose)


def _class_name(family: "type[Family]") -> str:
    return family.components["transformer"][0].rpartition(".")[2]


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "diffusion4k" / "files"


def _lay_out(folder: Path, file: Path, config: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write the folder, wholly or not at all, whoever else does so at the same time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        (temporary / "transformer").mkdir()
        (temporary / "transformer" / SINGLE_FILE).symlink_to(file)
        for name, content in {"transformer/config.json": config, SETTINGS: settings}.items():
            (temporary / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
