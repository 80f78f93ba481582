"""One process at a time, whichever of them ends how; nothing but a file of its own is locked."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion4k.errors import Diffusion4kError
from diffusion4k.support.lock import locked, try_lock, wait_for

HOLDER = """
import sys, time
from pathlib import Path
from diffusion4k.support.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_folder_is_held_until_its_process_ends(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with try_lock(tmp_path) as is_ours:
        assert not is_ours
    with pytest.raises(Diffusion4kError, match=r"another run is using it"), locked(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_who_waits_has_it_next_and_says_once_what_for(
    holder: subprocess.Popen[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            holder.kill()
            holder.wait()

    monkeypatch.setattr("diffusion4k.support.lock.time.sleep", sleep)
    with wait_for(tmp_path, "another process prepares"):
        assert len(waited) == 2
    assert capsys.readouterr().err == f"{tmp_path.parent}: another process prepares: waiting\n"


def test_within_one_process_a_folder_is_held_once(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path), try_lock(tmp_path) as is_ours:
            assert not is_ours


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to(path.parent.parent / "precious"),
        lambda path: path.symlink_to(path.parent.parent / "absent"),
        os.mkfifo,
        Path.mkdir,
    ],
    ids=["link", "dangling-link", "fifo", "folder"],
)
def test_a_lock_is_a_file_of_its_own(make: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder / ".lock")
    refused = pytest.raises(Diffusion4kError, match=r"\.lock: not a regular file")
    with refused, locked(folder):
        pass
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "absent").exists()
