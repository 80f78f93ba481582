"""All statistics of a dataset, into one folder: figures, `report.html`, `stats.json`."""

import json
from pathlib import Path

import numpy as np

from diffusion4k.curation.stats.caption_figures import (
    SHOWN,
    draw_cloud,
    draw_phrases,
    most_common,
)
from diffusion4k.curation.stats.collect import PAPER, collect
from diffusion4k.curation.stats.gallery import Sample, choose, draw_gallery
from diffusion4k.curation.stats.manifest import Manifest, read_manifest
from diffusion4k.curation.stats.phrases import count_phrases
from diffusion4k.curation.stats.quality_figures import draw_quality, draw_steps
from diffusion4k.curation.stats.report import write_report
from diffusion4k.curation.stats.size_figure import draw_sizes
from diffusion4k.data.problems import report_skipped
from diffusion4k.errors import UsageError
from diffusion4k.support.data_uri import png_uri
from diffusion4k.support.files import remove_leftovers, write_text
from diffusion4k.support.versions import versions

__all__ = ["describe"]

_PHRASES_KEPT = 100


def describe(dataset: Path, out: Path, *, seed: int = 0, samples: int = 12) -> Path:
    """Write figures, page and numbers into `out`; the path of the page.

    Raises:
        UsageError: no dataset there, or `out` lies in it.
        Diffusion4kError: no usable picture, or a damaged manifest.
    """
    if out.resolve().is_relative_to(dataset.resolve()):
        raise UsageError(
            f"{out}: lies in the dataset, whose pictures its figures would become: choose --out "
            "elsewhere"
        )
    remove_leftovers(out)
    parts, problems = collect(dataset, progress=True)
    manifest = read_manifest(dataset)
    phrases = count_phrases(photo.text for part in parts for photo in part.photos)
    chosen = choose(parts[0].photos, samples, seed, problems)
    report_skipped(problems)
    drawn = {
        "sizes": draw_sizes(parts, out),
        "words": draw_cloud(phrases[1], out, seed),
        "phrases": draw_phrases(phrases, out),
        "gallery": draw_gallery(chosen, out),
        "steps": draw_steps(manifest.steps, out) if manifest else None,
        "quality": draw_quality(manifest, out) if manifest else None,
    }
    facts: dict[str, object] = {
        "dataset": dataset.resolve().name,
        "seed": seed,
        "parts": {part.name: part.to_json() for part in parts},
        "problems": len(problems),
        "table": [vars(row) for row in (*PAPER, *(part.size_row() for part in parts))],
        "phrases": {str(n): most_common(counted, _PHRASES_KEPT) for n, counted in phrases.items()},
        "gallery": [sample.photo.file_name for sample in chosen],
        "build": _build(manifest) if manifest else None,
        "versions": versions("python", "matplotlib", "numpy", "pillow", "wordcloud"),
    }
    write_text(out / "stats.json", json.dumps(facts, indent=1, allow_nan=False) + "\n")
    figures = {name: png_uri(path.read_bytes()) for name, path in drawn.items() if path}
    return write_report(
        facts,
        figures,
        [_sample(sample) for sample in chosen],
        paper_rows=len(PAPER),
        phrases_shown=SHOWN,
        path=out / "report.html",
    )


def _build(manifest: Manifest) -> dict[str, object]:
    return {
        "candidates": len(manifest.kept),
        "kept": int(manifest.kept.sum()),
        "steps": [vars(step) | {"given": step.given} for step in manifest.steps],
        "measures": {
            name: _measure(values) | {"limits": [vars(x) for x in manifest.limits.get(name, [])]}
            for name, values in manifest.measures.items()
        },
    }


def _measure(values: np.ndarray) -> dict[str, object]:
    measured = values[np.isfinite(values)]
    low, median, high = (float(value) for value in np.quantile(measured, (0.05, 0.5, 0.95)))
    return {
        "measured": len(measured),
        "mean": float(measured.mean()),
        "median": median,
        "5%": low,
        "95%": high,
    }


def _sample(sample: Sample) -> dict[str, object]:
    return {
        "uri": sample.uri(),
        "text": sample.photo.text,
        "size": f"{sample.photo.width}×{sample.photo.height}",
        "name": sample.photo.file_name,
    }
