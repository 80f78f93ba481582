"""The measures of curation as one writes them at first: NumPy, SciPy, scikit-image, Pillow.

Plain, slow and independent of `diffusion4k.curation.measures`: its tests compare with these, and
`curation_speed.py` is timed against them. `measure(pixels)` gives all but `jpeg_quality`.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage
from skimage.feature import graycomatrix
from skimage.measure import shannon_entropy
from skimage.util import view_as_blocks

__all__ = ["blockwise", "jpeg_quality", "measure", "opencv_grey", "spectrum"]


def opencv_grey(rgb: NDArray) -> NDArray[np.uint8]:
    red, green, blue = np.moveaxis(rgb.astype(np.int64), -1, 0)
    return ((red * 9798 + green * 19235 + blue * 3735 + 16384) >> 15).astype(np.uint8)


def blockwise(image: NDArray, side: int) -> NDArray:
    """Non-overlapping tiles `(rows, columns, side, side)`; what stands over is left out."""
    height, width = (length // side * side for length in image.shape)
    return view_as_blocks(np.ascontiguousarray(image[:height, :width]), (side, side))


def measure(rgb: NDArray[np.uint8]) -> dict[str, float]:
    grey = opencv_grey(rgb)
    sigma = noise(grey)
    energy = spectrum(grey, sigma)
    return (
        {"noise": sigma, "flat_ratio": flat_ratio(grey)}
        | tile_statistics(grey)
        | of_spectrum(energy)
        | of_steps(grey)
        | exposure(grey)
        | {"blown_out": float((rgb.max(axis=2) >= 253).mean())}
        | borders(rgb)
        | co_occurrence(grey)
    )


def flat_ratio(grey: NDArray) -> float:
    values = grey.astype(float)
    magnitude = np.hypot(
        ndimage.sobel(values, 0, mode="mirror"), ndimage.sobel(values, 1, mode="mirror")
    )
    return float((blockwise(magnitude, 240).var(axis=(2, 3)) < 800).mean())


def tile_statistics(grey: NDArray) -> dict[str, float]:
    variances, squares, fourths = [], [], []
    for tile in blockwise(grey, 256).reshape(-1, 256, 256).astype(float):
        variances.append(ndimage.laplace(tile)[1:-1, 1:-1].var())
        steps = np.concatenate([np.diff(tile, axis=0).ravel(), np.diff(tile, axis=1).ravel()])
        squares.append((steps**2).mean())
        fourths.append((steps**4).mean())
    return {
        "laplacian_variance": float(np.percentile(variances, 90)),
        "gradient_kurtosis": float(np.mean(fourths) / np.mean(squares) ** 2),
    }


def noise(grey: NDArray) -> float:
    medians = []
    tiles = blockwise(grey, 64).reshape(-1, 64, 64).astype(float)
    middling = [tile for tile in tiles if 24 <= tile.mean() <= 231] or tiles
    for tile in middling:
        detail = tile[::2, ::2] - tile[::2, 1::2] - tile[1::2, ::2] + tile[1::2, 1::2]
        counts = np.bincount(np.abs(detail).astype(int).ravel())
        # Where the cumulative distribution of values known to the nearest whole is a half.
        edges = np.concatenate([[0], np.arange(len(counts)) + 0.5])
        cumulated = np.concatenate([[0], np.cumsum(counts)])
        known = np.concatenate([[True], counts > 0])
        medians.append(np.interp(32 * 32 / 2, cumulated[known], edges[known]) / 2)
    return float(np.percentile(medians, 10) / 0.6745)


def spectrum(grey: NDArray, sigma: float) -> NDArray:
    """Energy `(128, 16)` by ring and direction of the most detailed eighth of the tiles."""
    window = np.hanning(256)[:, None] * np.hanning(256)[None]
    y, x = np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256), indexing="ij")
    ring = np.rint(256 * np.hypot(y, x)).astype(int)
    direction = np.rint((np.arctan2(y, x) / np.pi + 0.5) * 16).astype(int) % 16
    powers, contrasts = [], []
    small_window = np.hanning(128)[:, None] * np.hanning(128)[None]
    small_ring = ring[np.ix_(np.r_[0:64, 192:256], np.r_[0:64, 192:256])]
    for tile in blockwise(grey, 256).reshape(-1, 256, 256).astype(float):
        power = np.abs(fft.fft2((tile - tile.mean()) * window)) ** 2 / (window**2).sum() / 256**2
        powers.append(power)
        halved = blockwise(tile, 2).sum(axis=(2, 3))
        contrast = np.abs(fft.fft2((halved - halved.mean()) * small_window)) ** 2
        contrasts.append(contrast[(small_ring >= 16) & (small_ring < 64)].sum())
    count = min(len(powers), max(4, len(powers) // 8))
    mean = np.mean([powers[k] for k in np.argsort(contrasts)[::-1][:count]], axis=0)
    noise_free = mean - sigma**2 / 256**2
    energy = np.zeros((128, 16))
    for r in range(128):
        inside = ring == r
        energy[r] = np.bincount(direction[inside], noise_free[inside], 16)
    return np.maximum(energy, 0)


def of_spectrum(energy: NDArray) -> dict[str, float]:
    def band(low: int, high: int) -> float:
        return max(energy[low:high].sum(), 1e-3)

    falls = [np.log10(band(2 * k, 4 * k) / band(k, 2 * k)) for k in (8, 11, 16, 23, 32)]
    rings = energy.sum(axis=1)
    k = np.arange(8, 64)
    slope = np.polyfit(np.log(k), np.log(rings[k] / k + 1e-9), 1)[0]
    gradient = np.cumsum(rings * np.arange(128) ** 2)
    around = [
        [
            energy[rows, (d - 1) % 16] + energy[rows, d] + energy[rows, (d + 1) % 16]
            for d in range(16)
        ]
        for rows in (slice(32, 128), slice(6, 20))
    ]
    fine, coarse = (np.maximum(np.sum(group, axis=1) / 3, 1e-3) for group in around)
    anisotropy = np.ptp(np.log10(fine / coarse))
    return {
        "spectral_slope": float(slope),
        "detail_fall": float(min(falls)),
        "edge_anisotropy": float(anisotropy),
        "motion_blur": float(anisotropy * np.clip(-min(falls), 0, 1)),
        "spectral_cutoff": float((gradient < 0.95 * gradient[-1]).sum() / 256),
    }


def of_steps(grey: NDArray) -> dict[str, float]:
    values = grey.astype(int)
    across = np.minimum(np.abs(np.diff(values, axis=1)), 16).mean(axis=0)
    down = np.minimum(np.abs(np.diff(values, axis=0)), 16).mean(axis=1)
    strengths, repetitions, phases = [], [], []
    for profile in (across, down):
        padded = np.pad(profile, (12, 11), mode="edge")
        trend = np.lib.stride_tricks.sliding_window_view(padded, 24).mean(axis=1)
        relative = (profile + 0.05) / (trend + 0.05)
        by_phase = [np.median(relative[k::8]) for k in range(8)]
        phase = int(np.argmax(by_phase))
        others = [value for k, value in enumerate(by_phase) if k != phase]
        strengths.append(by_phase[phase] / np.median(others))
        phases.append(phase)
        at = np.arange(len(relative))
        best = 0.0
        for period in (2, 3, 4):
            groups = [
                np.median(relative[(at % 8 != phase) & (at % period == k)]) for k in range(period)
            ]
            groups.sort()
            best = max(best, 1 - groups[-2] / groups[-1])
        repetitions.append(best)
    return {
        "blockiness": float(min(strengths)),
        "pixel_repetition": float(min(repetitions)),
        "traced_quality": traced_quality(grey, (phases[1] + 1) % 8, (phases[0] + 1) % 8),
    }


LUMINANCE = {(0, 1): 11, (1, 0): 12, (1, 1): 12, (0, 2): 10, (2, 0): 14}


def traced_quality(grey: NDArray, top: int, left: int) -> float:
    blocks = blockwise(grey[top:, left:].astype(float), 8)
    every = max(1, round(grey.size / 64 / 40_000))
    chosen = np.concatenate([row[i % every :: every] for i, row in enumerate(blocks)])
    transformed = fft.dctn(chosen, axes=(1, 2), norm="ortho")
    qualities = []
    for (v, u), base in LUMINANCE.items():
        magnitudes = np.rint(4 * np.abs(transformed[:, v, u])) / 4
        magnitudes = magnitudes[magnitudes < 500]
        likeness = []
        for step in range(3, 121):
            far = magnitudes[magnitudes > step / 4]
            likeness.append(np.cos(2 * np.pi * far / step).mean() if len(far) >= 100 else 0)
        if max(likeness) > 0.5:
            last = max(k for k, value in enumerate(likeness) if value >= 0.9 * max(likeness))
            scale = 100 * (last + 3) / base
            qualities.append(np.clip((200 - scale) / 2 if scale <= 100 else 5000 / scale, 1, 100))
    return float(np.median(qualities)) if len(qualities) >= 3 else 100.0


def exposure(grey: NDArray) -> dict[str, float]:
    return {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "black_level": float(np.quantile(grey, 0.01, method="inverted_cdf")),
        "white_level": float(np.quantile(grey, 0.99, method="inverted_cdf")),
        "clipped_shadows": float((grey <= 2).mean()),
        "clipped_highlights": float((grey >= 253).mean()),
    }


def borders(rgb: NDArray) -> dict[str, float]:
    widths = {}
    for name, turns in {"top": 0, "right": 1, "bottom": 2, "left": 3}.items():
        rows = np.rot90(rgb, turns).astype(float)
        distance = np.abs(rows - np.median(rows[0], axis=0)).max(axis=2)
        uniform = (distance[: len(rows) // 2] <= 10).mean(axis=1) >= 0.98
        width = len(uniform) if uniform.all() else int(uniform.argmin())
        abrupt = (distance[width : width + 12] > 16).mean(axis=1).max() >= 0.3
        widths[f"border_{name}"] = width / len(rows) if abrupt and not uniform.all() else 0.0
    return widths | {"border": max(widths.values())}


def co_occurrence(grey: NDArray) -> dict[str, float]:
    scores, entropies = [], []
    for patch in blockwise(grey // 4, 64).reshape(-1, 64, 64):
        angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
        p = graycomatrix(patch, [1, 2, 3, 4], angles, levels=64, normed=True)
        scores.append(shannon_entropy(p))
        entropies.append(-np.sum(p * np.log2(np.where(p > 0, p, 1)), axis=(0, 1)).mean())
    return {"glcm_score": float(np.mean(scores)), "glcm_entropy": float(np.mean(entropies))}


def jpeg_quality(path: str) -> float:
    """The quality whose table, as Pillow writes it, is nearest in logarithms."""
    with Image.open(path) as image:
        table = np.array(image.quantization[0], float)
    distances = []
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
        own = np.array(Image.open(buffer).quantization[0], float)
        distances.append(np.abs(np.log(own / table)).sum())
    return float(np.argmin(distances) + 1)
