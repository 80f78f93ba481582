"""Does the pocket model follow its captions? One sample per training caption.

    python recipes/pocket/measure.py --data runs/pocket/dataset --out runs/pocket/samples --size 512

Counts how often the nearest training picture of a sample, by cosine of its EfficientNet-Lite0
features, is the picture of its caption. Chance is one in the number of captions. The pictures'
central squares of the same size are written beside the samples, as the reference of

    diffusion4k evaluate runs/pocket/samples/images --reference runs/pocket/samples/pictures --all
"""

import argparse
import json
from pathlib import Path

import numpy as np
from pictures import captions_of, load_at_short_side
from PIL import Image

from diffusion4k.metrics.features import EfficientNetLite0
from diffusion4k.sampling import Request, generate
from diffusion4k.support.files import write_text


def measure(data: Path, out: Path, model: str, size: int, steps: int | None, seed: int) -> float:
    rows = captions_of(data)
    requests = [Request(row["text"], seed, width=size, height=size, steps=steps) for row in rows]
    outputs = generate(requests, model, out=out / "images", image_format="jpeg")
    for row in rows:
        _write_square(data / row["file_name"], out / "pictures", size)
    extractor = EfficientNetLite0()
    pictures = np.asarray(extractor([data / row["file_name"] for row in rows]), np.float64)
    samples = np.asarray(extractor([output.path for output in outputs]), np.float64)
    mean = pictures.mean(0)
    pictures, samples = (_unit(features - mean) for features in (pictures, samples))
    nearest = (samples @ pictures.T).argmax(1)
    right = float((nearest == np.arange(len(rows))).mean())
    wrong = [
        {"caption": rows[i]["text"], "nearest": rows[k]["file_name"]}
        for i, k in enumerate(nearest)
        if i != k
    ]
    result = {"captions": len(rows), "size": size, "right": right, "wrong": wrong}
    write_text(out / "retrieval.json", json.dumps(result, indent=1) + "\n")
    print(f"{right:.1%} of {len(rows)} samples are nearest to their own picture")
    return right


def _write_square(path: Path, folder: Path, size: int) -> None:
    """The central square of a picture, its shorter side `size`."""
    array = load_at_short_side(path, size)
    top, left = ((n - size) // 2 for n in array.shape[:2])
    folder.mkdir(parents=True, exist_ok=True)
    square = Image.fromarray(array[top : top + size, left : left + size])
    square.save((folder / path.name).with_suffix(".jpg"), quality=95)


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("runs/pocket/dataset"))
    parser.add_argument("--out", type=Path, default=Path("runs/pocket/samples"))
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    measure(a.data, a.out, a.model, a.size, a.steps, a.seed)
