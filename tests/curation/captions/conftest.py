"""Pictures, settings for a stand-in endpoint, and its key in the environment."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from diffusion4k.curation.captions.settings import CaptionSettings
from tests.endpoint.fixtures import hurry, key, settings_of  # noqa: F401

pytest.importorskip("openai")


def make_pictures(folder: Path, number: int, side: int = 96) -> list[Path]:
    """Pictures of four grey fields each, so that no two are the same as a JPEG."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(number)
    paths = [folder / f"{i:04}.png" for i in range(number)]
    for path in paths:
        grey = [chance.randrange(256) for _ in range(4)]
        small = Image.new("L", (2, 2))
        small.putdata(grey)
        small.resize((side, side), Image.Resampling.NEAREST).save(path)
    return paths


@pytest.fixture
def settings() -> Callable[..., CaptionSettings]:
    """`settings(url, most_words=..., concurrency=...)`: of the endpoint, or of captions."""

    def make(url: str, **changes: Any) -> CaptionSettings:
        endpoint = {"url": url, "timeout": 5.0, "poll": 0.01}
        return settings_of(CaptionSettings, endpoint, changes)

    return make
