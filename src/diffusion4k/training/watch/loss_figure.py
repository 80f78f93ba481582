"""The losses of a run as a figure that a page can hold."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["loss_curve", "running_mean", "smoothed_over"]

_MOST_DOTS = 1000
_LONGEST_WINDOW = 100


def loss_curve(
    training: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]]
) -> str:
    """Training loss from zero on with its running mean, and validation loss on a scale of its own.

    Args:
        training, validation: steps and losses.

    Returns:
        An SVG element. Of many steps every so many have a dot; the mean is of all.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    steps, losses = _columns(training)
    window, every = smoothed_over(len(losses)), -(-len(losses) // _MOST_DOTS) or 1
    with plt.rc_context({"font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none"}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8), constrained_layout=True)
        left.plot(steps[::every], losses[::every], ".", color="#b9c4ce", markersize=4)
        if window > 1:
            mean = running_mean(losses, window)
            left.plot(steps[window - 1 :: every], mean[::every], color="#1d2733", linewidth=1.6)
            title = f"training loss, one batch each, and the mean of {window} steps"
        else:
            title = "training loss, one batch each"
        left.set_title(title, fontsize=10, loc="left")
        # Single steps at high noise lie far above all others, and would flatten the curve.
        left.set_ylim(0, 1.15 * float(np.quantile(losses, 0.99)) if len(losses) else None)
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
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # which would name places
        figure.savefig(buffer, format="svg", transparent=True, metadata=none)
        plt.close(figure)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def smoothed_over(steps: int) -> int:
    """Number of steps over which a curve of `steps` steps is averaged."""
    return min(max(steps // 8, 1), _LONGEST_WINDOW)


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Means of each `window` neighbours, `(N,)` to `(N - window + 1,)`."""
    return np.lib.stride_tricks.sliding_window_view(values, window).mean(axis=1)


def _columns(
    curve: Sequence[tuple[int, float]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    steps, losses = np.array(curve, np.float64).reshape(-1, 2).T
    return steps, losses
