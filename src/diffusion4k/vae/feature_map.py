"""Feature maps that are read and written in strips of rows, in memory or in a temporary file.

A map stands as `(H, W, C)`: a strip of rows is one contiguous piece of it, and as `(1, C, rows, W)`
it is a channels-last tensor, the layout convolutions on the CPU like best. While rows are written
the mean and variance of each channel are gathered, so that a group norm that follows needs no pass
of its own: on the CPU in pieces that stay in its cache, on a GPU in one kernel a strip, without
waiting for it.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion4k.errors import Diffusion4kError

__all__ = ["FeatureMap", "Workspace"]

_GIB = 2**30
_PIECE = 2**17  # numbers: half a megabyte
_IN_PIECES = ("cpu", "mps")  # the latter has no float64


class Workspace:
    """Where feature maps live: in memory up to `capacity` bytes in all, beyond that in files.

    Args:
        capacity: bytes; `None` for no limit.
        device: of the strips; maps in memory live there too.
        dtype: of the maps.
        statistics: whether a norm will ask for mean and variance of what was written.
        folder: for temporary files; by default the system's (TMPDIR).
    """

    def __init__(
        self,
        capacity: int | None,
        device: torch.device,
        dtype: torch.dtype,
        statistics: bool = True,
        folder: str | Path | None = None,
    ) -> None:
        self.capacity, self.device, self.dtype = capacity, device, dtype
        self.statistics = statistics
        self.folder = str(folder or tempfile.gettempdir())
        self.held = 0

    def new_map(self, channels: int, height: int, width: int) -> "FeatureMap":
        """An empty map of `(channels, height, width)`.

        Raises:
            Diffusion4kError: it must go to a file, and the disk has no room for it.
        """
        size = channels * height * width * self.dtype.itemsize
        fits = self.capacity is None or self.held + size <= self.capacity
        if not fits and (free := shutil.disk_usage(self.folder).free) < size:
            raise Diffusion4kError(
                f"{self.folder}: {free / _GIB:.1f} GiB free, but a feature map of "
                f"{size / _GIB:.1f} GiB must go there: allow more memory, or set TMPDIR to a "
                "larger disk"
            )
        return FeatureMap(self, channels, height, width, in_memory=fits)


class FeatureMap:
    """Rows of features with the statistics of what was written. Made by `Workspace.new_map`."""

    def __init__(
        self, workspace: Workspace, channels: int, height: int, width: int, in_memory: bool
    ) -> None:
        self.workspace = workspace
        self.channels, self.height, self.width = channels, height, width
        self.device = workspace.device
        self.rows: Tensor | None = None
        self.file: Any = None
        self._row_bytes = channels * width * workspace.dtype.itemsize
        self.forget_statistics()
        if in_memory:
            self.rows = torch.empty(
                (height, width, channels), dtype=workspace.dtype, device=workspace.device
            )
            workspace.held += height * self._row_bytes
        else:
            # The file has no name: it is gone with the process, however that ends.
            self.file = tempfile.TemporaryFile(dir=workspace.folder, buffering=0)  # noqa: SIM115

    def read(self, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` as `(1, C, rows, W)`; a view where the map is in memory."""
        if self.rows is not None:
            strip = self.rows[start:stop]
        else:
            shape = (stop - start, self.width, self.channels)
            strip = torch.empty(shape, dtype=self.workspace.dtype)
            _transfer(os.preadv, self.file, strip, start * self._row_bytes)
            strip = strip.to(self.workspace.device)
        # With this stride of the first axis it is channels last to convolutions, which would copy
        # it otherwise.
        return strip[None].permute(0, 3, 1, 2)

    def write(self, start: int, strip: Tensor) -> None:
        """Store `strip` `(1, C, rows, W)` from row `start` on, and count it in the statistics."""
        rows = strip[0].permute(1, 2, 0)
        if self.workspace.statistics:
            self._count(rows.reshape(-1, self.channels))
        if self.rows is not None:
            self.rows[start : start + len(rows)] = rows
            return
        try:
            _transfer(os.pwritev, self.file, rows.contiguous().cpu(), start * self._row_bytes)
        except OSError as error:
            raise Diffusion4kError(
                f"{self.workspace.folder}: cannot write a feature map there "
                f"({error.strerror or error}): allow more memory, or set TMPDIR to a larger disk"
            ) from None

    def group_statistics(self, groups: int, eps: float) -> tuple[Tensor, Tensor]:
        """Mean and reciprocal standard deviation of each channel's group, `(C,)` float64 each.

        On the CPU, or on the GPU that the map is on.
        """
        means, variances = self._statistics()
        mean = means.view(groups, -1)
        square = variances.view(groups, -1) + mean.square()
        group_mean = mean.mean(1, keepdim=True)
        variance = square.mean(1, keepdim=True) - group_mean.square()
        scale = (variance + eps).rsqrt()
        return group_mean.expand_as(mean).flatten(), scale.expand_as(mean).flatten()

    def forget_statistics(self) -> None:
        """Restart the count, as all rows are about to be replaced."""
        self._strips: list[tuple[int, Tensor, Tensor]] = []
        self._count_of_pixels = 0
        self._mean = torch.zeros(self.channels, dtype=torch.float64)
        self._sum_of_squares = torch.zeros(self.channels, dtype=torch.float64)  # about the mean

    def close(self) -> None:
        """Give back memory and disk."""
        if self.rows is not None:
            self.workspace.held -= self.height * self._row_bytes
            self.rows = None
        if self.file is not None:
            self.file.close()
            self.file = None

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel, `(C,)` float64."""
        if not self._strips:
            return self._mean, self._sum_of_squares / self._count_of_pixels
        counts, means, variances = zip(*self._strips, strict=True)
        mean_of_each, variance_of_each = (torch.stack(v).double() for v in (means, variances))
        weights = torch.tensor(counts, dtype=torch.float64).to(mean_of_each.device)[:, None]
        weights /= sum(counts)
        mean = (weights * mean_of_each).sum(0)
        spread = variance_of_each + (mean_of_each - mean).square()
        return mean, (weights * spread).sum(0)

    def _count(self, pixels: Tensor) -> None:
        if pixels.device.type not in _IN_PIECES:
            variance, mean = torch.var_mean(pixels.float(), 0, correction=0)
            self._strips.append((len(pixels), mean, variance))
            return
        # Sums about the mean of each piece, merged in float64 (Chan et al. 1979), lose no digits;
        # pieces stay in the CPU's cache, and a product with ones is the fastest sum there is.
        pieces = pixels.float().split(max(1, _PIECE // self.channels))
        ones = pixels.new_ones((1, len(pieces[0])), dtype=torch.float32)
        means, squares = [], []
        for piece in pieces:
            one = ones[:, : len(piece)]
            mean = one @ piece / len(piece)
            means.append(mean)
            squares.append(one @ (piece - mean).square_())
        counts = torch.tensor([[len(piece)] for piece in pieces], dtype=torch.float64)
        mean, square = torch.cat(means).double().cpu(), torch.cat(squares).double().cpu()
        counts = torch.cat([counts, counts.new_tensor([[self._count_of_pixels]])])
        mean = torch.cat([mean, self._mean[None]])
        square = torch.cat([square, self._sum_of_squares[None]])
        self._count_of_pixels = int(counts.sum())
        self._mean = (counts * mean).sum(0) / self._count_of_pixels
        self._sum_of_squares = (square + counts * (mean - self._mean).square()).sum(0)


def _transfer(move: Callable[..., int], file: Any, rows: Tensor, offset: int) -> None:
    data = memoryview(rows.view(torch.uint8).numpy().reshape(-1))  # type: ignore[arg-type]
    done = 0
    while done < len(data):
        moved = move(file.fileno(), [data[done:]], offset + done)
        if not moved:
            raise OSError("file ends early")
        done += moved
