"""WebDataset tars, whole, cut and hostile."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion4k.curation.entries import CurationEntry
from diffusion4k.curation.reading import Reader
from diffusion4k.curation.recipe import FetchRecipe, TarSource
from diffusion4k.curation.sources.tars import tar_entries
from diffusion4k.errors import UsageError
from tests.curation.conftest import picture


def jpeg(seed: int) -> bytes:
    content = io.BytesIO()
    picture(seed).save(content, "JPEG", quality=95)
    return content.getvalue()


def make_tar(path: Path, members: list[tuple[str, bytes]], **options: object) -> Path:
    with tarfile.open(path, "w", **options) as tar:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def entries(path: Path | str) -> list[CurationEntry]:
    return list(tar_entries(TarSource(path=str(path), kind="tars")))


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_members_are_read_where_they_lie(tmp_path: Path, kind: int) -> None:
    long = "folder/" + "n" * (40 if kind == tarfile.USTAR_FORMAT else 180)
    members = [(f"{i}.jpg", jpeg(i)) for i in range(3)] + [(f"{long}.jpg", jpeg(3))]
    path = make_tar(tmp_path / "a.tar", members, format=kind)
    reader = Reader(tmp_path, FetchRecipe())
    found = entries(path)
    assert [entry.name for entry in found] == ["a/0.jpg", "a/1.jpg", "a/2.jpg", f"a/{long}.jpg"]
    for entry, (_, content) in zip(found, members, strict=True):
        with reader.open({**vars(entry), "key": entry.key}) as file:
            assert not isinstance(file, Path) and file.read() == content


def test_captions_belong_to_members_of_the_same_key(tmp_path: Path) -> None:
    path = make_tar(
        tmp_path / "a.tar",
        [
            ("x/1.txt", b"one"),
            ("x/1.jpg", jpeg(0)),
            ("x/2.jpg", jpeg(1)),
            ("x/2.json", b'{"caption": "two"}'),
            ("y/2.jpg", jpeg(2)),
            ("3.jpg", jpeg(3)),
            ("3.txt", b"\xff"),
        ],
    )
    found = {entry.name: entry for entry in entries(path)}
    texts = [found[f"a/{name}"].text for name in ("x/1.jpg", "x/2.jpg", "y/2.jpg", "3.jpg")]
    assert texts == ["one", "two", None, None]
    assert "not UTF-8" in str(found["a/3.txt"].problem)


def test_several_tars_in_order(tmp_path: Path) -> None:
    for number in (1, 0):
        make_tar(tmp_path / f"{number}.tar", [("a.jpg", jpeg(number))])
    assert [entry.name for entry in entries(tmp_path / "*.tar")] == ["0/a.jpg", "1/a.jpg"]
    with pytest.raises(UsageError, match="no such file"):
        entries(tmp_path / "none*.tar")


def test_links_in_tars_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("soft.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "/etc/passwd"
            tar.addfile(link)
    assert ["not a file" in str(entry.problem) for entry in entries(tmp_path / "a.tar")] == [
        True
    ] * 2


def test_damage_anywhere_is_told(tmp_path: Path) -> None:
    members = [(f"{i}.jpg", jpeg(i)) for i in range(4)]
    path = make_tar(tmp_path / "a.tar", members)
    whole = path.read_bytes()
    assert not any(entry.problem for entry in entries(path))
    starts = [entry.start - 512 for entry in entries(path)]
    for cut in (100, starts[1], starts[1] + 100, starts[2] + 700, starts[3] + 512):
        path.write_bytes(whole[:cut])
        at_end = cut == starts[1]  # Cut between members: tars without an end are common.
        assert any(entry.problem for entry in entries(path)) != at_end, cut
    damaged = bytearray(whole)
    damaged[starts[2] : starts[2] + 300] = b"x" * 300
    path.write_bytes(damaged)
    *good, problem = entries(path)
    assert len(good) == 2 and "damaged" in str(problem.problem)
    path.write_bytes(b"no tar at all" * 100)
    assert "damaged, cut or compressed" in str(entries(path)[0].problem)


def test_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    (problem,) = entries(path)
    assert "give a plain tar" in str(problem.problem)


def test_a_tar_is_published_byte_for_byte_and_cannot_lead_out(tmp_path: Path, build) -> None:
    path = make_tar(
        tmp_path / "a.tar",
        [
            ("../../evil.jpg", jpeg(0)),
            ("/etc/evil.jpg", jpeg(1)),
            ("same.jpg", jpeg(2)),
            ("same.jpg", jpeg(3)),
            ("C:\\windows.jpg", jpeg(4)),
        ],
    )
    before = set(tmp_path.iterdir())
    built = build({"kind": "tars", "path": str(path)})
    files = built.files()
    files.pop("train/metadata.jsonl")
    assert sorted(files.values()) == sorted(jpeg(i) for i in range(5))
    assert {"train/a/etc/evil.jpg", "train/a/evil.jpg", "train/a/same.jpg"} < set(files)
    assert set(tmp_path.iterdir()) - before == {built.output}
    image = np.asarray(Image.open(built.output / "train/a/evil.jpg"))
    assert image.shape == (64, 96, 3)


def texts(*members: str) -> dict[str, str | None]:
    """Caption by picture of a tar with these members; a text's content is its name."""
    path = Path("a.tar")
    make_tar(path, [(name, content_of(name)) for name in members])
    return {entry.name: entry.problem or entry.text for entry in entries(path)}


def content_of(name: str) -> bytes:
    if name.endswith(".json"):
        return f'{{"caption": "{name}"}}'.encode()
    return jpeg(0) if name.endswith("jpg") else name.encode()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        # Dots in names: the caption is that of the name up to its last ending.
        (["p.0.jpg", "p.0.txt", "p.1.jpg", "p.1.txt"], ["p.0.txt", "p.1.txt"]),
        (["0.25.jpg", "0.25.json", "0.5.jpg", "0.5.json"], ["0.25.json", "0.5.json"]),
        (["I.edited.jpg", "I.jpg", "I.edited.txt", "I.txt"], ["I.edited.txt", "I.txt"]),
        # That of the bare key belongs to all that have none of their own.
        (["p.0.jpg", "p.1.jpg", "p.1.txt", "p.txt"], ["p.txt", "p.1.txt"]),
        (["x/p.0.jpg", "p.txt", "p.jpg"], [None, "p.txt"]),
        # Captions lie anywhere.
        (["0.jpg", "1.jpg", "0.txt", "1.txt"], ["0.txt", "1.txt"]),
        (["1.txt", "0.txt", "0.jpg", "1.jpg"], ["0.txt", "1.txt"]),
        # What macOS' tar adds is nothing.
        (["./._0.jpg", "./0.jpg", "./._0.txt", "./0.txt"], ["./0.txt"]),
        (
            ["0.JPG", "0.TXT", "1.jpg", "1.jpg.txt", "2.jpg", "2.caption"],
            ["0.TXT", "1.jpg.txt", "2.caption"],
        ),
    ],
)
def test_every_picture_has_its_own_caption(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    members: list[str],
    expected: list[str | None],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(texts(*members).values()) == expected


def test_samples_of_one_name_have_each_their_caption(tmp_path: Path) -> None:
    members = [(f"0001.{end}", b"") for end in ("jpg", "txt")]
    contents = [jpeg(0), b"first", jpeg(1), b"second"]
    names = [name for name, _ in members * 2]
    path = make_tar(tmp_path / "a.tar", list(zip(names, contents, strict=True)))
    assert [entry.text for entry in entries(path)] == ["first", "second"]


def test_what_is_lost_in_a_tar_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = texts("0.jpg", "0.txt", "one.txt", "two.txt", "a.heic", "README.txt")
    assert found["a/0.jpg"] == "0.txt"
    assert "not read: .heic files" in str(found["a/a.heic"])
    assert "captions without a picture: 2, the first is one.txt" in str(found["a/one.txt"])
    assert len(found) == 3


def test_a_negative_size_is_damage(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", [("0.jpg", jpeg(0)), ("1.jpg", jpeg(1))])
    content = bytearray(path.read_bytes())
    size = 124
    content[size : size + 12] = b"\xff" * 11 + b"\x00"
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + 8 * 32 + sum(content[156:512]))
    path.write_bytes(content)
    assert all(entry.problem for entry in entries(path))
