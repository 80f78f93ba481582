"""Every kind of problem is found, alone and in every layout; what is sound is not accused."""

import io
import json
import os
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffusion4k.curation.verify.kinds import KINDS
from diffusion4k.data.folder import photo_folder
from diffusion4k.errors import UsageError
from tests.curation.verify.conftest import add, add_bytes, add_line, verify
from tests.data.fake import picture, save_picture


def truncated(folder: Path) -> None:
    path = add(folder, "cut.jpg", "A cut one.")
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def small(folder: Path) -> None:
    save_picture(folder / "small.png", (63, 80))
    add_line(folder, "small.png", "A small one.")


def long(folder: Path) -> None:
    save_picture(folder / "long.png", (400, 90))
    add_line(folder, "long.png", "A long one.")


def link(folder: Path) -> None:
    outside = add(folder.parent / "outside", "there.png")
    (folder / "here.png").symlink_to(outside)
    add_line(folder, "here.png", "A linked one.")


def linked_folder(folder: Path) -> None:
    add(folder.parent / "outside", "there.png")
    (folder / "sub").symlink_to(folder.parent / "outside")
    add_line(folder, "sub/there.png", "One in a linked folder.")


def normal_form(folder: Path) -> None:
    add(folder, unicodedata.normalize("NFD", "café.png"))
    add_line(folder, unicodedata.normalize("NFC", "café.png"), "A café.")


def two_cases(folder: Path) -> None:
    add(folder, "Lake.png", "A lake.", seed=1)
    add(folder, "lake.png", "Another lake.", seed=2)


def wrong_ending(folder: Path) -> None:
    picture((90, 80)).save(folder / "really.jpg", "PNG")
    add_line(folder, "really.jpg", "A PNG file.")


def no_ending(folder: Path) -> None:
    picture((90, 80)).save(folder / "bare", "PNG")
    add_line(folder, "bare", "A file without ending.")


def same_pixels(folder: Path) -> None:
    path = add(folder, "one.png", "One.")
    Image.open(path).save(folder / "other.bmp")
    add_line(folder, "other.bmp", "The same in another format.")


def nearly_same(folder: Path) -> None:
    photograph = Image.open(photo_folder("pocket") / "stream.jpg").reduce(6)
    for number in (1, 2):
        photograph.reduce(number).save(folder / f"{number}.jpg", quality=80)
        add_line(folder, f"{number}.jpg", f"Number {number}.")


def repeated(folder: Path) -> None:
    for number in range(5):
        add(folder, f"{number}.png", "A photograph.", seed=number)


def other_case(folder: Path) -> None:
    add(folder, "lake.png")
    add_line(folder, "Lake.PNG", "A lake.")


def captioned(text: str) -> Callable[[Path], None]:
    return lambda folder: add(folder, "other.png", text) and None


def lined(content: bytes) -> Callable[[Path], None]:
    return lambda folder: add_bytes(folder, content + b"\n")


BAD = [
    (lambda f: add_line(f, "absent.png", "Not there."), "missing", "no such file"),
    (truncated, "broken", "damaged or truncated"),
    (lambda f: (f / "good.png").write_bytes(b""), "broken", "empty file"),
    (lambda f: add(f, "sub/forgotten.png"), "unnamed", "no line in metadata.jsonl names it"),
    (lambda f: add_line(f, "./good.png", "Again."), "named-twice", "named in line 1 already"),
    (same_pixels, "duplicate", "same pixels as"),
    (nearly_same, "near-duplicate", "nearly the same as"),
    (small, "too-small", "63x80 pixels"),
    (long, "aspect", "at most 4 to 1"),
    (lambda f: add_line(f, "../good.png", "Out."), "path", "leads out of the folder"),
    (link, "symlink", "outside the dataset"),
    (linked_folder, "symlink", "outside the dataset"),
    (other_case, "name", "named Lake.PNG"),
    (normal_form, "name", "use the file's own name"),
    (two_cases, "name", "Lake.png is the same name"),
    (wrong_ending, "ending", 'ends in ".jpg", its content is .png'),
    (no_ending, "ending", "has no ending"),
    (lined(b'{"file_name": '), "metadata", "not valid JSON"),
    (lined(b"[1]"), "metadata", "found a JSON list"),
    (lined('{"file_name": "a", "text": "Zürich"}'.encode("latin-1")), "encoding", "not UTF-8"),
    (lined(b'{"file_name": "a", "text": "\\ud800"}'), "encoding", "not text"),
    (lined(b'{"file_name": "a.png"}'), "caption-missing", "no such key"),
    (lined(b'{"file_name": "a.png", "text": " "}'), "caption-missing", "is empty"),
    (captioned("A" * 2001), "caption-long", "2001 characters"),
    (captioned("I'm sorry, I can't help with that."), "caption-refusal", "refusal"),
    (captioned("I’m unable to view images."), "caption-refusal", "refusal"),
    (captioned("Sorry, but I cannot describe it."), "caption-refusal", "refusal"),
    (captioned("This image shows a lake."), "caption-introduction", '"This image shows"'),
    (captioned("In the scene, a lake."), "caption-introduction", '"In the scene,"'),
    (captioned("this image depicts a lake."), "caption-introduction", "this image depicts"),
    (captioned("A lake\x07."), "caption-characters", "U+0007"),
    (captioned("A caf\ufffd."), "caption-characters", "U+FFFD"),
    (repeated, "caption-repeated", "5 pictures have the caption"),
]


@pytest.mark.parametrize(
    ("spoil", "kind", "reason"), BAD, ids=[f"{n}-{kind}" for n, (_, kind, _) in enumerate(BAD)]
)
def test_a_problem_is_found_by_its_kind_and_no_other(dataset: Path, spoil, kind, reason) -> None:
    assert verify(dataset).problems == []
    spoil(dataset)
    report = verify(dataset)
    assert list(report.counts) == [kind], report.problems
    assert all(reason in problem.reason for problem in report.problems)
    assert report.counts[kind] == (5 if kind == "caption-repeated" else 1)
    assert kind in KINDS


@pytest.mark.parametrize(
    "text",
    [
        "A sign reads: I'm sorry, I can't help.",
        "In the scene of a crime a lamp still burns.",
        "A painting shows a lake.",
        "Sorry dogs in the rain.",
        "Zürich,\nby night 🏔️.",
    ],
)
def test_sound_captions_are_not_accused(dataset: Path, text: str) -> None:
    add(dataset, "other.png", text)
    assert verify(dataset).problems == []


def test_four_pictures_may_share_a_caption(dataset: Path) -> None:
    for number in range(4):
        add(dataset, f"{number}.png", "A photograph.", seed=number)
    assert verify(dataset).problems == []


def test_min_side(dataset: Path) -> None:
    assert verify(dataset, min_side=80).problems == []
    assert verify(dataset, min_side=81).counts == {"too-small": 1}


def test_links_within_the_dataset_and_into_the_hubs_cache_are_allowed(tmp_path: Path) -> None:
    cache = tmp_path / "datasets--a--b"
    snapshot = cache / "snapshots" / "0123"
    blob = add(cache / "blobs", "4567.png")
    blob = blob.rename(blob.with_suffix(""))
    (snapshot / "train").mkdir(parents=True)
    (snapshot / "train" / "a.png").symlink_to(blob)
    add_line(snapshot / "train", "a.png", "A picture.")
    assert verify(snapshot).problems == []


def test_the_published_layouts(tmp_path: Path) -> None:
    for part in ("train", "eval/size_2048", "eval/size_4096", "eval_2048", "eval_4096"):
        add(tmp_path / part, "own.png", f"Own of {part}.", seed=len(part) + part.count("4"))
    for part in ("eval/size_2048", "eval/size_4096"):
        add(tmp_path / part, "shared.png", "Among those at 2048 and at 4096.", seed=50)
    report = verify(tmp_path)
    assert (len(report.good), report.problems) == (7, [])
    leaked = add(tmp_path / "train", "leaked.png", "Trained and evaluated.", seed=50)
    report = verify(tmp_path)
    assert [(p.kind, p.where) for p in report.problems] == [("overlap", str(leaked))]


def test_pictures_with_text_files(tmp_path: Path) -> None:
    for number, text in enumerate((b"\xef\xbb\xbfA lake.\n", b"", b"Z\xfcrich", None)):
        add(tmp_path, f"sub/{number}.png", seed=number)
        if text is not None:
            (tmp_path / "sub" / f"{number}.txt").write_bytes(text)
    report = verify(tmp_path)
    assert [picture.photo.text for picture in report.good] == ["A lake."]
    assert report.counts == {"unnamed": 1, "encoding": 1, "caption-missing": 1}


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    picture((90, 80), seed).save(buffer, "PNG")
    return buffer.getvalue()


FILES = {"000.png": png(0), "000.txt": b"A lake.", "sub/001.png": png(1), "sub/001.txt": b"A hill."}


def write_archive(path: Path, files: dict[str, bytes]) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as opened:
            for name, content in files.items():
                opened.writestr(name, content)
        return
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("name", ["0.tar", "0.tar.gz", "0.tgz", "0.ZIP".lower()])
def test_archives(tmp_path: Path, name: str) -> None:
    write_archive(tmp_path / name, FILES)
    report = verify(tmp_path)
    assert report.problems == []
    assert sorted(p.where for p in report.good) == [
        f"{tmp_path}/{name}/000.png",
        f"{tmp_path}/{name}/sub/001.png",
    ]
    write_archive(tmp_path / name, FILES | {"../out.png": png(2), "002.png": png(3)})
    report = verify(tmp_path)
    assert report.counts == {"unnamed": 1, "archive": 1}
    assert not (tmp_path.parent / "out.png").exists()
    assert f"{tmp_path}/{name}/002.png" in [p.where for p in report.problems]


@pytest.mark.parametrize("name", ["0.tar", "0.tgz", "0.zip"])
def test_damaged_archives(tmp_path: Path, name: str) -> None:
    write_archive(tmp_path / name, FILES)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert "archive" in verify(tmp_path).counts
    (tmp_path / name).write_bytes(b"nothing of the kind")
    assert verify(tmp_path).counts == {"archive": 1}


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        member = tarfile.TarInfo("passwd.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    assert verify(tmp_path).counts == {"archive": 1}


def test_no_dataset_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        verify(tmp_path / "absent")
    with pytest.raises(UsageError, match="no pictures and no archives"):
        verify(tmp_path)


def test_the_bundled_photographs_are_in_order() -> None:
    assert verify(photo_folder("pocket")).problems == []


@pytest.mark.parametrize("layout", ["no captions", "a line without text", "another's line"])
def test_damage_is_found_without_a_caption(tmp_path: Path, layout: str) -> None:
    truncated(tmp_path)
    add(tmp_path, "sound.png")
    cut, sound = str(tmp_path / "cut.jpg"), str(tmp_path / "sound.png")
    (tmp_path / "metadata.jsonl").unlink()
    found = {(cut, "broken"), (sound, "unnamed")}
    if layout == "a line without text":
        add_bytes(tmp_path, b'{"file_name": "cut.jpg"}\n')
        found |= {(f"{tmp_path}/metadata.jsonl:1", "caption-missing")}
    elif layout == "another's line":
        add(tmp_path, "named.png", "A lake.", seed=4)
    report = verify(tmp_path)
    assert {(p.where, p.kind) for p in report.problems} == found
    assert any("`diffusion4k dataset caption` writes" in line for line in report.lines())


def test_of_equal_pictures_a_sound_one_is_kept(dataset: Path) -> None:
    refused = add(dataset, "a.png", "I'm sorry, I can't help with that.")
    add(dataset, "b.png", "A lake.")
    report = verify(dataset)
    assert {p.kind: p.where for p in report.problems} == {
        "caption-refusal": str(refused),
        "duplicate": str(refused),
    }


def near_copies(photograph: Image.Image) -> dict[str, Image.Image]:
    width, height = photograph.size
    return {
        "smaller.jpg": photograph.resize((width // 2, height // 2)),
        "mirrored.jpg": photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop(
            (8, 8, width - 8, height - 8)
        ),
        "darker.jpg": photograph.point(lambda value: value * 0.9).resize((width - 9, height - 6)),
    }


@pytest.mark.parametrize("name", ["smaller.jpg", "mirrored.jpg", "darker.jpg"])
def test_near_duplicates(dataset: Path, name: str) -> None:
    photograph = Image.open(photo_folder("pocket") / "stream.jpg").reduce(3)
    photograph.save(dataset / "larger.png")
    near_copies(photograph)[name].save(dataset / name, quality=70)
    for file_name in (name, "larger.png"):
        add_line(dataset, file_name, f"A stream: {file_name}.")
    report = verify(dataset)
    assert [(p.kind, p.where) for p in report.problems] == [("near-duplicate", f"{dataset}/{name}")]
    evaluation = dataset / "eval"
    evaluation.mkdir()
    (dataset / name).rename(evaluation / name)
    metadata = (dataset / "metadata.jsonl").read_text().splitlines(keepends=True)
    (evaluation / "metadata.jsonl").write_text(metadata.pop(1))
    (dataset / "metadata.jsonl").write_text("".join(metadata))
    report = verify(dataset)
    assert [(p.kind, p.where) for p in report.problems] == [("overlap", f"{dataset}/larger.png")]


def test_summary_and_json(tmp_path: Path) -> None:
    sizes = [(100, 80), (300, 200), (200, 120)]
    for number, size in enumerate(sizes):
        save_picture(tmp_path / f"{number}.jpg", size, seed=number)
        add_line(tmp_path, f"{number}.jpg", "one two three"[: 3 + 4 * number])
    truncated(tmp_path)
    report = verify(tmp_path)
    text = report.lines()
    assert text[0].endswith("3 photographs, 1 problem")
    widths, heights = np.array(sizes).T
    for line, name, values in ((text[2], "height", heights), (text[3], "width", widths)):
        expected = [np.median(values), values.mean(), values.min(), values.max()]
        assert line.split() == [name, *(f"{value:.0f}" for value in expected)]
    assert text[5].split() == ["words", "2", "2", "1", "3"]
    assert "damaged or truncated" in text[-1]
    report.write_json(tmp_path / "problems.json")
    content = json.loads((tmp_path / "problems.json").read_text())
    assert (content["photographs"], content["counts"]) == (3, {"broken": 1})
    assert content["problems"][0]["where"] == str(tmp_path / "cut.jpg")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.dictionaries(
        st.sampled_from(["file_name", "text", "other"]),
        st.text(max_size=20) | st.integers() | st.sampled_from(["good.png", "GOOD.png", "../a"]),
    ).map(lambda row: json.dumps(row).encode())
)
def test_no_line_whatever_ends_in_a_traceback(dataset: Path, content: bytes) -> None:
    good = b'{"file_name": "good.png", "text": "A good one."}\n'
    (dataset / "metadata.jsonl").write_bytes(good + content)
    report = verify(dataset)
    assert report.folder == dataset
    assert all("\n" not in line for line in report.lines())


def test_file_names_that_are_no_text(dataset: Path) -> None:
    odd = os.fsdecode(b"\xff\x1b[31m\n.png")
    add(dataset, "other.png").rename(dataset / odd)
    report = verify(dataset)
    assert report.counts == {"unread": 1}
    assert report.lines()[-1].isprintable()
    report.write_json(dataset / "problems.json")
    (problem,) = json.loads((dataset / "problems.json").read_text())["problems"]
    assert problem["where"] == str(dataset / odd)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_files_that_may_not_be_read(dataset: Path) -> None:
    add(dataset, "locked.png", "A locked one.").chmod(0)
    assert verify(dataset).counts == {"broken": 1}


def test_a_caption_that_is_a_link_out_of_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret key")
    add(tmp_path / "set", "cat.png")
    (tmp_path / "set" / "cat.txt").symlink_to(tmp_path / "secret")
    add(tmp_path / "set", "dog.png", seed=1)
    (tmp_path / "set" / "dog.txt").symlink_to("dog.txt")
    report = verify(tmp_path / "set")
    assert [str(problem).count("leads out of the folder") for problem in report.others] == [1, 1]
    assert "secret key" not in str(report.others)
