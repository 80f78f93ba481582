"""Files are whole or absent, whatever library writes them."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from diffusion4k.errors import UsageError
from diffusion4k.support.files import atomic_path, is_file_name, write_bytes
from diffusion4k.support.lock import locked
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


def test_names_of_files_lead_nowhere_else() -> None:
    for name in ("a", "a.npy", "...", "ä"):
        assert is_file_name(name)
    for name in ("", ".", "..", "/a", "../a", "a/b", "a\\b", "a\0"):
        assert not is_file_name(name)


def test_what_the_disk_refuses_names_the_file_whichever_library_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8))
    with largest_file(20_000), pytest.raises(OSError) as raised, atomic_path(path) as temporary:
        image.save(temporary, "JPEG", quality=95)
    assert raised.value.filename == str(path) and raised.value.errno in (errno.EFBIG, errno.EIO)
    with pytest.raises(OSError) as raised, atomic_path(path):
        raise OSError(errno.EDQUOT, "quota")
    assert raised.value.filename == str(path) and raised.value.errno == errno.EDQUOT
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path / "image.one.png")])
    killed.wait()
    left = next(tmp_path.iterdir())
    others = [tmp_path / ".a.12.part.png", tmp_path / f".x{left.suffix}", tmp_path / "b.part"]
    for other in others:
        other.touch()
    with atomic_path(tmp_path / "c.png") as mine, locked(tmp_path):
        mine.touch()
        assert not left.exists() and mine.exists() and all(other.exists() for other in others)


_KILLED = """
import os, signal, sys
from diffusion4k.support.files import atomic_path
with atomic_path(sys.argv[1]) as path:
    path.touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_but_a_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "fifo", tmp_path / "folder", Path("/dev/null")):
        with pytest.raises(UsageError, match="a folder, device or pipe"):
            write_bytes(path, b"content")
    assert Path("/dev/null").is_char_device()
