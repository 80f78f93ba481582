"""Fixtures shared by the tests: no network, one thread, a tiny model."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

from tests.tiny import tiny_sd3


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny pipeline; shared by the whole session, do not write into it."""
    return tiny_sd3(tmp_path_factory.mktemp("tiny") / "model")
