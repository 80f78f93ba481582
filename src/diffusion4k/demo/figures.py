"""Pictures of the report, each as text that a page can hold: JPEG data URIs and inline SVG."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from diffusion4k.data_uri import jpeg_uri
from diffusion4k.metrics.places import Box

__all__ = ["crop_uri", "loss_curve", "reduced_uri"]


def reduced_uri(path: Path, longest: int = 1100) -> str:
    """The image, reduced so that its longer side is at most `longest`, as a JPEG data URI."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return jpeg_uri(image, 85)


def crop_uri(path: Path, box: Box) -> str:
    """The pixels of `box` as they are, as a JPEG data URI of quality 92."""
    with Image.open(path) as opened:
        return jpeg_uri(opened.convert("RGB").crop(box), 92)


def loss_curve(
    training: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]]
) -> str:
    """Training loss from zero on, and validation loss on a scale of its own; an SVG element."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    with plt.rc_context({"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none"}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8), constrained_layout=True)
        left.plot(*_columns(training), ".", color="#6f8296", markersize=6)
        left.set_title("training loss, one batch each", fontsize=10, loc="left")
        left.set_ylim(bottom=0)
        right.plot(*_columns(validation), "o-", color="#0b6e4f")
        right.set_title(
            "validation loss, fixed noise (scale not from zero)", fontsize=10, loc="left"
        )
        right.margins(y=0.3)
        for axes in (left, right):
            axes.set_xlabel("step")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color="#e8ebee")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def _columns(curve: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in curve], [loss for _, loss in curve]
