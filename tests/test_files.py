"""Files are whole or absent, whatever library writes them."""

import errno
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from diffusion4k.files import atomic_path, write_bytes
from tests.disk import largest_file


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"before")
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a") as temporary:
        temporary.write_bytes(b"after")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


def test_tensors_that_do_not_fit_are_an_error_of_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {"a": np.ones((300, 1000), np.float32)}
    with largest_file(100_000), pytest.raises(OSError) as raised, atomic_path(path) as temporary:
        save_file(tensors, temporary)
    assert raised.value.errno == errno.EFBIG and raised.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []
