"""Studies whose servers run inside the tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.preference.study.fake import Running, make_study

OPEN = {"participants": {"open": True}}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Studies that are ended with the test."""
    running: list[Running] = []

    def begin(**settings: Any) -> Running:
        running.append(Running(make_study(tmp_path, **(OPEN | settings))))
        return running[-1]

    yield begin
    for each in running:
        each.close()
