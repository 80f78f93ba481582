"""Archives made to do harm: archive and member are named, and the rest goes on."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from diffusion4k.curation.verify import archives
from diffusion4k.curation.verify.archives import unpack

PICTURE = os.urandom(1000)


def _tar(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(PICTURE)
            tar.addfile(member, io.BytesIO(PICTURE))
    return path


def _set_size(path: Path, size: bytes) -> None:
    """Give the first member of a tar another size, and the checksum that fits."""
    content = bytearray(path.read_bytes())
    content[124:136] = size
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    path.write_bytes(content)


def _unpack(archive: Path, tmp_path: Path) -> tuple[list[str], list[str]]:
    """Paths that were written, and what was told."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    problems = unpack(archive, folder)
    assert all(problem.where.startswith(str(archive)) for problem in problems)
    assert all("\n" not in str(problem) for problem in problems)
    written = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    return sorted(written), [problem.reason for problem in problems]


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_cannot_be_are_left_out(tmp_path: Path, kind: str) -> None:
    names = ["a.png", "a.png/b.png", f"{'n' * 300}.png", "../c.png", "a.png", "last.png"]
    archive = tmp_path / f"x.{kind}"
    if kind == "tar":
        _tar(archive, names)
    else:
        with zipfile.ZipFile(archive, "w") as opened:
            for name in names:
                opened.writestr(name, PICTURE)
    written, reasons = _unpack(archive, tmp_path)
    assert written == ["a.png", "last.png"]
    assert len(reasons) == 4
    assert sum("cannot be unpacked under this name" in reason for reason in reasons) == 2


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\xff" * 10 + b"\xfc\x00", b"-0000000777\0"])
def test_a_tar_whose_header_leads_back_has_an_end(tmp_path: Path, size: bytes) -> None:
    archive = _tar(tmp_path / "x.tar", ["a.png", "b.png"])
    _set_size(archive, size)
    written, reasons = _unpack(archive, tmp_path)
    assert written in ([], ["a.png"]) and any("damaged" in reason for reason in reasons)


def test_of_a_zip_all_but_the_bomb_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_LEAST_ROOM", 100_000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("bomb.bmp", bytes(10_000_000))
        opened.writestr("a.png", PICTURE)
    written, reasons = _unpack(tmp_path / "x.zip", tmp_path)
    assert written == ["a.png"] and "more than 20 times" in reasons[0]


def test_a_tar_ends_at_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_LEAST_ROOM", 100_000)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        for name, content in (("a.png", PICTURE), ("bomb.bmp", bytes(10_000_000))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    written, reasons = _unpack(tmp_path / "x.tar.gz", tmp_path)
    assert written == ["a.png"] and "more than 20 times" in reasons[0]
