"""What Daft is asked to do, and what happens when somebody ends it."""

import signal
import sys
from collections.abc import Iterator
from contextlib import suppress

import pyarrow as pa
import pytest

from diffusion4k.curation.engine import as_frame, interrupts_noted, rows_of, use_ray
from diffusion4k.errors import Diffusion4kError


def test_rows_that_came_after_a_swallowed_interrupt_do_not_pass_for_all() -> None:
    """As if Daft had ended the query and kept the exception for itself."""
    found = []

    def taken() -> Iterator[int]:
        for row in rows_of(as_frame(pa.table({"a": [1, 2, 3]}))):
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            yield row["a"]

    with interrupts_noted(), pytest.raises(KeyboardInterrupt):
        found.extend(taken())
    assert found == [1, 2, 3]


def test_an_interrupt_ends_with_its_block() -> None:
    before = signal.getsignal(signal.SIGINT)
    with suppress(KeyboardInterrupt), interrupts_noted():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert [row["a"] for row in rows_of(as_frame(pa.table({"a": [1]})))] == [1]


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Diffusion4kError, match=r"pip install 'diffusion4k\[ray\]'"):
        use_ray("127.0.0.1:1")
