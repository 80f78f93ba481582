"""`vae eval`: pictures and autoencoders to a table, `results.json` and a figure."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from diffusion4k import __version__
from diffusion4k.data.folder import photo_folder
from diffusion4k.data.picture_files import list_images
from diffusion4k.data.sizes import check_multiple
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics.frechet import FewSamplesWarning
from diffusion4k.metrics.images import as_array
from diffusion4k.reconstruction.evaluate import (
    Autoencoder,
    ReconstructionResult,
    ReconstructionRow,
    ReconstructionSettings,
    SquarePhotograph,
    evaluate_autoencoders,
    kept_reconstruction,
)
from diffusion4k.reconstruction.figure import draw
from diffusion4k.reconstruction.measure import Weights
from diffusion4k.support.progress import track
from diffusion4k.support.wording import counted
from diffusion4k.vae import parse_memory

__all__ = ["FILES", "run"]

FILES = ("results.json", "reconstructions.png")
"""What is written into the output folder, beside the reconstructions."""

_SHOWN = 4  # photographs in the figure
_HEADINGS = {
    "psnr": ("PSNR, dB", 2),
    "ssim": ("SSIM", 4),
    "nmse": ("NMSE", 5),
    "lpips": ("LPIPS", 4),
    "effnet_pd": ("EffNet-PD", 3),
}
_DISTANCES = {"rfid": "rFID", "fd_effnet": "FD-EffNet", "fd_effnet_patch": "FD-EffNet-patch"}


def run(
    folder: Path,
    names: Sequence[str],
    sizes: Sequence[int],
    out: Path,
    *,
    weights: Weights | None = None,
    max_memory: str | None = None,
    allow_enlarging: bool = False,
    skip_bad: bool = False,
) -> ReconstructionResult:
    """Measure, print the table, write `out/results.json` and `out/reconstructions.png`.

    Raises:
        UsageError: a size that is no multiple of 32, an `out` that is a file, or no such folder,
            model or weights.
        Diffusion4kError: an unusable picture without `skip_bad`.
    """
    for size in sizes:
        check_multiple("--size", size)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; name a folder")
    parse_memory(max_memory)
    weights = weights or Weights()
    paths = list_images(photo_folder(folder))
    autoencoders = [Autoencoder(name) for name in dict.fromkeys(names)]
    pictures = [SquarePhotograph(path, size, allow_enlarging) for size in sizes for path in paths]
    made = evaluate_autoencoders(
        pictures,
        autoencoders,
        out / "kept",
        weights=weights,
        max_memory=max_memory,
        skip_bad=skip_bad,
    )
    rows: list[ReconstructionRow] = []
    bad: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSamplesWarning)  # the table says it
        for _, item in zip(
            track(range(len(pictures)), len(pictures), "reconstructing"), made, strict=False
        ):
            if isinstance(item, ReconstructionRow):
                rows.append(item)
            elif item.startswith("bad: "):
                bad.append(item.removeprefix("bad: "))
        rows += [item for item in made if isinstance(item, ReconstructionRow)]
    if not rows:
        raise Diffusion4kError(f"{folder}: no usable photograph: {'; '.join(bad[:3])}")
    settings: ReconstructionSettings = {
        "folder": str(folder),
        "sizes": list(sizes),
        "allow_enlarging": allow_enlarging,
        "weights": asdict(weights),
        "version": __version__,
        "fingerprints": {a.name: a.fingerprint[:16] for a in autoencoders},
    }
    result = ReconstructionResult(rows, settings, bad)
    data, figure = (out / name for name in FILES)
    result.save(data)
    _figure(pictures, autoencoders, out, figure)
    _show(result, Console())
    return result


def _figure(
    pictures: Sequence[SquarePhotograph], autoencoders: Sequence[Autoencoder], out: Path, path: Path
) -> None:
    rows: list[tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]] = []
    for picture in pictures:
        if len(rows) == _SHOWN:
            break
        try:
            original = picture.pixels()
        except Diffusion4kError:
            continue
        made = [kept_reconstruction(out / "kept", picture, a) for a in autoencoders]
        rows.append((original, [as_array(path) for path in made]))
    draw(rows, [a.name for a in autoencoders], path)


def _show(result: ReconstructionResult, console: Console) -> None:
    for size in dict.fromkeys(row.size for row in result.rows):
        rows = [row for row in result.rows if row.size == size]
        count = len(rows[0].images)
        table = Table(
            title=f"{counted(count, 'photograph')} at {size}x{size}", title_justify="left"
        )
        table.add_column("")
        for row in rows:
            table.add_column(row.autoencoder, justify="right")
        for metric, (heading, digits) in _HEADINGS.items():
            if metric not in rows[0].means:
                continue
            cells = [
                f"{mean:.{digits}f} ({low:.{digits}f} .. {high:.{digits}f})"
                for mean, low, high in (row.means[metric] for row in rows)
            ]
            table.add_row(heading, *cells)
        for name, heading in _DISTANCES.items():
            if name == "rfid" and not result.settings["weights"]["inception"]:
                continue
            values = [row.distances[name] for row in rows]
            table.add_row(heading, *("-" if v is None else f"{v:.2f}" for v in values))
        console.print(table)
    given = result.settings["weights"]
    missing = [
        f"{metric} ({option})"
        for metric, option, name in (
            ("rFID", "--inception", "inception"),
            ("LPIPS", "--lpips", "lpips"),
        )
        if not given[name]
    ]
    if missing:
        console.print(f"Not measured, because no weights are given: {', '.join(missing)}.")
    console.print(
        "In brackets 95% intervals (bootstrap over photographs). With fewer than 1280 samples the "
        "Fréchet distances are too high: compare them within a row only."
    )
    for reason in result.bad:
        console.print(f"skipped: {reason}", markup=False)
    if result.bad:
        console.print(f"{counted(len(result.bad), 'picture')} skipped")
