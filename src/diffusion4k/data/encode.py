"""Running the text encoders and the autoencoder over what a cache lacks.

Captions and photographs go through one by one: what is stored of one never depends on the others,
so that a build that was killed and started again gives the same bytes as one that was not.
"""

from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from diffusion4k.data.images import open_rgb
from diffusion4k.data.pixels import to_tensor
from diffusion4k.data.plan import CacheEntry, CachePlan, CacheSettings
from diffusion4k.data.problems import Problem, report_skipped
from diffusion4k.data.shards import Shards, ShardWriter
from diffusion4k.data.team import ALONE, EncodingTeam
from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.devices import enough_memory
from diffusion4k.support.prefetch import prefetch
from diffusion4k.support.progress import track

__all__ = ["encode_photos", "encode_texts"]


def encode_texts(
    plan: CachePlan,
    shards: Path,
    device: torch.device,
    shard_bytes: int,
    bar: bool,
    team: EncodingTeam = ALONE,
) -> None:
    """Store the conditioning of the captions that lack it, of the team's this process's share.

    The text encoders are loaded only if there are any, and gone from memory afterwards.
    """
    mine = team.share([plan.empty, *(entry.text for entry in plan.entries)])
    missing = {k: v for k, v in plan.missing_texts(Shards(shards)).items() if k in mine}
    if not missing:
        return
    settings = plan.settings
    # T5-XXL takes 19 GB in float32; the stock pipelines run it in half of that, too.
    precision = torch.bfloat16 if device.type == "cuda" else torch.float32
    encoders = settings.family.load_text_encoders(settings.model, dtype=precision).to(device)
    with ShardWriter(shards, team.kind("text"), shard_bytes=shard_bytes) as writer, torch.no_grad():
        for key, caption in track(missing.items(), len(missing), "captions", shown=bar):
            with _enough_memory(f"caption {caption[:60]!r}"):
                encoded = settings.family.encode_text(encoders, [caption])
            what = f"embedding of caption {caption[:60]!r}"
            writer.add(key, {k: _stored(v[0], settings.dtype, what) for k, v in encoded.items()})
    del encoders
    if device.type == "cuda":
        torch.cuda.empty_cache()


def encode_photos(
    plan: CachePlan,
    shards: Path,
    device: torch.device,
    shard_bytes: int,
    bar: bool,
    skip_bad: bool,
    team: EncodingTeam = ALONE,
) -> list[Problem]:
    """Store the latents of the photographs that lack them; the broken ones of this process's share.

    The autoencoder is loaded with the first one that can be decoded, so not at all if all that is
    missing is broken.

    Raises:
        Diffusion4kError: a broken photograph, unless `skip_bad`.
    """
    settings, stored = plan.settings, Shards(shards)
    mine = team.share(entry.latents for entry in plan.entries)
    missing = [e for e in plan.entries if e.latents in mine and plan.missing_latents(e, stored)]
    pictures = prefetch(lambda entry: _decoded(entry, settings), missing, workers=1)
    autoencoder: nn.Module | None = None
    done: set[str] = set()
    problems = []
    with (
        ShardWriter(shards, team.kind("latents"), shard_bytes=shard_bytes) as writer,
        torch.no_grad(),
    ):
        rows = track(pictures, len(missing), "photographs", shown=bar)
        for entry, picture in zip(missing, rows, strict=True):
            if isinstance(picture, Problem):
                if not skip_bad:
                    raise Diffusion4kError(f"{picture}; --skip-bad leaves it out")
                problems.append(picture)
                report_skipped([picture])
                continue
            if autoencoder is None:
                autoencoder = settings.family.load_autoencoder(settings.model, dtype=torch.float32)
                autoencoder.to(device)
            for key in plan.missing_latents(entry, stored):
                if key in done:
                    continue  # The same photograph under another name.
                image = picture.flip(-1) if key == entry.flipped else picture
                with _enough_memory(f"{entry.photo.path} at {_size(image)} pixels"):
                    latents = settings.encode(autoencoder, image.to(device))[0]
                what = f"{entry.photo.path}: latents"
                writer.add(key, {"latents": _stored(latents, settings.dtype, what)})
                done.add(key)
    return problems


def _decoded(entry: CacheEntry, settings: CacheSettings) -> Tensor | Problem:
    path = entry.photo.path
    try:
        image = open_rgb(path)
        return to_tensor(image, settings.stored_size(*image.size))
    except Diffusion4kError as error:
        return Problem(str(path), str(error).removeprefix(f"{path}: "))


def _stored(tensor: Tensor, dtype: str, what: str) -> Tensor:
    """`tensor` on the CPU, floats in `dtype`."""
    tensor = tensor.detach().cpu()
    if not tensor.is_floating_point():
        return tensor.contiguous().clone()
    if not tensor.isfinite().all():
        raise Diffusion4kError(f"{what} not finite: the model's weights are damaged")
    stored = tensor.to(getattr(torch, dtype)).contiguous().clone()
    if not stored.isfinite().all():
        raise Diffusion4kError(
            f"{what} too large for {dtype}: choose bfloat16 (a recipe's `cache_dtype`, or --dtype)"
        )
    return stored


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]}x{image.shape[-2]}"


def _enough_memory(what: str) -> AbstractContextManager[None]:
    return enough_memory(
        f"{what}: not enough memory to encode it: lower the resolution or choose another device; "
        "finished work is kept"
    )
