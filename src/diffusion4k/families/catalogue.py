"""What there is: families with their known checkpoints, and models on this machine."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import Defaults, families, family_of
from diffusion4k.models.folder import (
    bundled_models,
    is_model_folder,
)
from diffusion4k.models.hub import INDEX, SETTINGS, hub_id_of
from diffusion4k.models.published import published_config, published_models

__all__ = ["KnownModel", "LocalModel", "known_models", "local_models"]


@dataclass(frozen=True)
class KnownModel:
    """A published checkpoint that a family can take."""

    hub_id: str
    family: str
    pipeline_class: str
    factors: tuple[int, ...]
    """Pixels a side of one latent that it can run at; the first is the default."""
    defaults: Defaults
    licence: str
    gated: bool
    note: str
    """What is special about it; empty: nothing."""
    needs: str
    """What only its makers' own code does; empty: nothing."""


@dataclass(frozen=True)
class LocalModel:
    """A model folder on this machine."""

    name: str
    """What `--model` takes."""
    folder: Path
    family: str | None
    """None if it cannot be used."""
    problem: str | None
    """Why it cannot."""


def known_models() -> list[KnownModel]:
    """Every checkpoint that a family names, family by family."""
    known = []
    for pipeline_class, family in families().items():
        for checkpoint in family.checkpoints:
            transformer = published_config(checkpoint.hub_id, "transformer")["config"]
            scheduler = published_models()[checkpoint.hub_id]["scheduler"]
            known.append(
                KnownModel(
                    hub_id=checkpoint.hub_id,
                    family=family.name,
                    pipeline_class=pipeline_class,
                    factors=family.factors,
                    defaults=checkpoint.defaults or family().defaults_for(transformer, scheduler),
                    licence=checkpoint.licence,
                    gated=checkpoint.gated,
                    note=checkpoint.note,
                    needs=checkpoint.needs,
                )
            )
    return known


def local_models(folders: Iterable[Path] = ()) -> list[LocalModel]:
    """The bundled models, those of the hub's cache, and those in or below `folders`.

    Raises:
        UsageError: a folder that is none.
    """
    bundled = [_inspect(name, path) for name, path in bundled_models().items() if path.is_dir()]
    found = [*bundled, *_in_hub_cache()]
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
        names = {path.parent for name in (INDEX, SETTINGS) for path in folder.rglob(name)}
        found += [_inspect(str(path), path) for path in sorted(names) if is_model_folder(path)]
    return found


def _in_hub_cache() -> Iterator[LocalModel]:
    from huggingface_hub.constants import HF_HUB_CACHE

    for repository in sorted(Path(HF_HUB_CACHE).glob("models--*--*")):
        reference = repository / "refs" / "main"
        if not reference.is_file():
            continue
        snapshot = repository / "snapshots" / reference.read_text(encoding="utf-8").strip()
        # Most of what is in the cache are no pipelines.
        if is_model_folder(snapshot):
            yield _inspect(hub_id_of(repository.name) or repository.name, snapshot)


def _inspect(name: str, folder: Path) -> LocalModel:
    try:
        return LocalModel(name, folder, family_of(folder).name, None)
    except Diffusion4kError as error:
        return LocalModel(name, folder, None, str(error))
