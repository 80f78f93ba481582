"""A fake model, a small image folder, and `build(**changes)` that caches it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion4k.data.cache import CacheReport, build_cache
from diffusion4k.data.folder import read_folder
from tests.data.fake import Family, make_folder, make_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "photographs", [(200, 128), (96, 96), (100, 220), (150, 130)])


@pytest.fixture
def build(model: Path, photographs: Path, tmp_path: Path) -> Callable[..., CacheReport]:
    """Builds `tmp_path/cache` of the photographs at 64 pixels with a fresh or the given family."""

    def run(**changes: object) -> CacheReport:
        settings = {
            "model": model,
            "family": Family(),
            "cache": tmp_path / "cache",
            "resolution": 64,
            "flip": True,
            "progress": False,
        }
        photos = changes.pop("photos", None) or read_folder(
            photographs, skip_bad=bool(changes.get("skip_bad"))
        )
        return build_cache(photos, **(settings | changes))  # type: ignore[arg-type]

    return run
