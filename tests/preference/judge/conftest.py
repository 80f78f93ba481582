"""Two models' folders, settings for a stand-in judge, and its key in the environment."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffusion4k.preference.judge.prompt import JudgeSettings
from tests.endpoint.fixtures import hurry, key, settings_of  # noqa: F401
from tests.preference.judge.server import colour

pytest.importorskip("openai")


def make_models(folder: Path, number: int, side: int = 32) -> list[str]:
    """`red` and `blue`, each with an image of every prompt; as arguments of the judge."""
    for red, name in ((True, "red"), (False, "blue")):
        (folder / name).mkdir(parents=True)
        rows = []
        for i in range(number):
            # The number as darker squares: colours alone might repeat.
            bits = np.array([i >> bit & 1 for bit in range(16)]).reshape(4, 4, 1)
            squares = np.kron(1 - bits / 2, np.ones((side // 4, side // 4, 1)))
            image = Image.fromarray((squares * colour(i, red)).astype(np.uint8))
            image.save(folder / name / f"{i:05}.png")
            rows.append({"file_name": f"{i:05}.png", "text": f"a lake, number {i}"})
        lines = "\n".join(json.dumps(row) for row in rows)
        (folder / name / "metadata.jsonl").write_text(lines)
    return [str(folder / "red"), str(folder / "blue")]


@pytest.fixture
def settings() -> Callable[..., JudgeSettings]:
    """`settings(url, patches=..., concurrency=...)`: of the endpoint, or of the judge."""

    def make(url: str, **changes: Any) -> JudgeSettings:
        endpoint = {"url": url, "timeout": 5.0, "max_output_tokens": 500}
        return settings_of(JudgeSettings, endpoint, changes)

    return make
