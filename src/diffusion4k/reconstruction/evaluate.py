"""How well autoencoders give photographs back, side by side (the supplement's Fig. 16).

Each photograph is reduced to the wanted shorter side, its central square is encoded (the
posterior's mean) and decoded, and the result rounded to eight bits before anything is measured, as
a saved image would be. Reconstructions and measurements are kept under names that follow from the
photograph's bytes, the autoencoder's weights and the settings: a run that was stopped continues
where it was.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from diffusion4k import __version__
from diffusion4k.data.images import open_rgb
from diffusion4k.data.pixels import normalised
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families.component import (
    weight_files,
)
from diffusion4k.metrics.frechet import frechet_distance
from diffusion4k.models.folder import (
    resolve_autoencoder,
)
from diffusion4k.reconstruction.measure import (
    Judges,
    Weights,
    features_of,
    numbers_of,
)
from diffusion4k.support.files import atomic_path, sha256_of, write_text
from diffusion4k.vae import decode_strips, lean_encode, load_autoencoder, load_stock_autoencoder

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

__all__ = [
    "Autoencoder",
    "ReconstructionResult",
    "ReconstructionRow",
    "ReconstructionSettings",
    "SquarePhotograph",
    "evaluate_autoencoders",
    "kept_reconstruction",
    "reconstruct",
]

_RESAMPLES = 2000


class Autoencoder:
    """`MODEL` at F=16, or `MODEL@8` at F=8; a model is `pocket`, a folder or a hub id.

    Raises:
        Diffusion4kError: no such model, or an autoencoder that does not work at that factor.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        model, _, factor = name.partition("@")
        if factor not in ("", "8", "16"):
            raise UsageError(f"--vae {name}: give 8 or 16 after @")
        folder = resolve_autoencoder(model)
        load = load_stock_autoencoder if factor == "8" else load_autoencoder
        self.network: AutoencoderKL = load(folder).eval()
        weights = weight_files(folder)
        self.fingerprint = "".join([sha256_of(p) for p in [folder / "config.json", *weights]])
        self.fingerprint += factor

    def reconstruct(
        self, image: NDArray[np.uint8], max_memory: int | str | None = None
    ) -> NDArray[np.uint8]:
        """`(H, W, 3)` encoded and decoded."""
        return reconstruct(self.network, image, max_memory)


@torch.inference_mode()
def reconstruct(
    network: "AutoencoderKL", image: NDArray[np.uint8], max_memory: int | str | None = None
) -> NDArray[np.uint8]:
    """`(H, W, 3)` encoded (the posterior's mean) and decoded by an `AutoencoderKL`."""
    latents = lean_encode(network, normalised(image), max_memory).mode()
    strips = [strip[0] for _, strip in decode_strips(network, latents, max_memory)]
    back = torch.cat(strips, 1).mul_(127.5).add_(127.5).clamp_(0, 255).round_()
    return back.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


@dataclass(frozen=True)
class SquarePhotograph:
    """The central square of a photograph, `size` pixels a side."""

    path: Path
    size: int
    allow_enlarging: bool = False

    def pixels(self) -> NDArray[np.uint8]:
        """`(size, size, 3)`.

        Raises:
            Diffusion4kError: unreadable, or smaller than `size` and not to be enlarged.
        """
        image = open_rgb(self.path)
        side = min(image.size)
        if side < self.size and not self.allow_enlarging:
            raise Diffusion4kError(
                f"{self.path}: {image.width}x{image.height} is smaller than {self.size}: choose a "
                "smaller --size, or pass --allow-enlarging"
            )
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        square = image.resize((self.size, self.size), Image.Resampling.LANCZOS, box)
        return np.array(square)


@dataclass(frozen=True)
class ReconstructionRow:
    """One autoencoder at one size: mean and 95% interval of each metric, and Fréchet distances.

    The intervals are of a bootstrap over the photographs. Distances are `fd_effnet`,
    `fd_effnet_patch` and `rfid`, None for one photograph and where the network is not there.
    """

    autoencoder: str
    size: int
    images: dict[str, dict[str, float]]
    means: dict[str, tuple[float, float, float]]
    distances: dict[str, float | None]


class ReconstructionSettings(TypedDict):
    """What rows were measured of and with; weights are absent where none were given."""

    folder: str
    sizes: list[int]
    allow_enlarging: bool
    weights: dict[str, str | None]
    version: str
    fingerprints: dict[str, str]


@dataclass(frozen=True)
class ReconstructionResult:
    """All rows, the settings, and the pictures that could not be used."""

    rows: list[ReconstructionRow]
    settings: ReconstructionSettings
    bad: list[str]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")


def evaluate_autoencoders(
    pictures: Sequence[SquarePhotograph],
    autoencoders: Sequence[Autoencoder],
    kept: Path,
    *,
    weights: Weights | None = None,
    max_memory: int | str | None = None,
    skip_bad: bool = False,
) -> Iterator[ReconstructionRow | str]:
    """Measure every autoencoder on every picture; sizes may differ between pictures.

    Yields:
        The name of each picture when it is done, then a `ReconstructionRow` per size and
        autoencoder.

    Raises:
        UsageError: `weights` that are not there.
        Diffusion4kError: a picture that cannot be used, unless `skip_bad`: then its reason is
            yielded, with `bad: ` before it. Weights of another network.
    """
    weights = weights or Weights()
    judges, networks = Judges(weights), weights.fingerprint
    found: dict[tuple[int, str], dict[str, tuple[Path, Path]]] = {}
    for picture in pictures:
        try:
            original = picture.pixels()
        except Diffusion4kError as error:
            if not skip_bad:
                raise
            yield f"bad: {error}"
            continue
        own = kept / f"{_key(picture, networks)}.safetensors"
        judges.measure(own, original)
        for autoencoder in autoencoders:
            image = kept_reconstruction(kept, picture, autoencoder)
            if not image.exists():
                with atomic_path(image) as temporary:
                    back = autoencoder.reconstruct(original, max_memory)
                    Image.fromarray(back).save(temporary, compress_level=1)
            measured = kept / f"{_key(picture, networks, autoencoder)}.safetensors"
            judges.measure(measured, image, original)
            rows = found.setdefault((picture.size, autoencoder.name), {})
            rows[picture.path.name] = (own, measured)
        yield picture.path.name
    for (size, name), images in found.items():
        yield _row(name, size, images, weights)


def kept_reconstruction(kept: Path, picture: SquarePhotograph, autoencoder: Autoencoder) -> Path:
    """Where the reconstruction of a picture stands once it is made, a PNG file."""
    return kept / f"{_key(picture, autoencoder=autoencoder)}.png"


def _row(
    name: str, size: int, images: dict[str, tuple[Path, Path]], weights: Weights
) -> ReconstructionRow:
    numbers = {image: numbers_of(path) for image, (_, path) in images.items()}
    measured = next(iter(numbers.values()))
    means = {metric: _interval([n[metric] for n in numbers.values()]) for metric in measured}
    originals, reconstructions = zip(*images.values(), strict=True)

    def distance(features: str) -> float | None:
        real, made = features_of(originals, features), features_of(reconstructions, features)
        return frechet_distance(real, made) if len(real) > 1 else None

    distances = {
        "fd_effnet": distance("effnet"),
        "fd_effnet_patch": distance("effnet_patches"),
        "rfid": distance("inception") if weights.inception else None,
    }
    return ReconstructionRow(name, size, numbers, means, distances)


def _interval(values: list[float]) -> tuple[float, float, float]:
    """Mean, and the 2.5% and 97.5% quantiles of the means of resamples (seeded)."""
    array = np.asarray(values)
    if not np.isfinite(array).all():
        return math.inf, math.inf, math.inf
    chosen = np.random.default_rng(0).integers(len(array), size=(_RESAMPLES, len(array)))
    low, high = np.quantile(array[chosen].mean(1), (0.025, 0.975))
    return float(array.mean()), float(low), float(high)


def _key(
    picture: SquarePhotograph, networks: str = "", autoencoder: Autoencoder | None = None
) -> str:
    fingerprint = autoencoder.fingerprint if autoencoder else None
    facts = [__version__, sha256_of(picture.path), picture.size, networks, fingerprint]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
