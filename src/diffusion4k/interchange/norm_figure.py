"""A picture of how strongly a LoRA changes each block."""

from collections.abc import Mapping
from pathlib import Path

from diffusion4k.errors import UsageError
from diffusion4k.support.figures import KEPT, new_figure, tidy, write_plot

__all__ = ["bar", "check_figure", "write_norms"]

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(share: float, width: int) -> str:
    """A bar of text, of at most `width` letters, that fills a share of it."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def check_figure(path: Path) -> None:
    """Refuse a name that does not end in .png.

    Raises:
        UsageError: it does not.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: give the figure a name that ends in .png")


def write_norms(norms: Mapping[str, float], path: Path, title: str) -> Path:
    """Draw a bar for each block, those of one kind beside each other, as a PNG; the path."""
    kinds: dict[str, list[tuple[str, float]]] = {}
    for block, norm in norms.items():
        stem, _, number = block.rpartition(".")
        kinds.setdefault(stem if number.isdigit() else "outside of blocks", []).append(
            (number if number.isdigit() else block, norm)
        )
    highest = max(norms.values(), default=1.0) or 1.0
    with new_figure(max(6.0, 0.16 * len(norms) + 2), 2.1 * len(kinds) + 0.6) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        for axes, (kind, values) in zip(
            figure.subplots(len(kinds), 1, squeeze=False).flat, kinds.items(), strict=True
        ):
            axes.bar([label for label, _ in values], [norm for _, norm in values], color=KEPT)
            axes.set_ylim(0, highest * 1.05)
            axes.set_title(kind)
            axes.set_ylabel("norm of the change")
            axes.tick_params(axis="x", labelsize=7)
            tidy(axes)
        write_plot(figure, path, {"Software": None}, dpi=120)
    return path
