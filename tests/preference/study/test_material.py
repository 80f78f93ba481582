"""What a study finds in folders, and what it says of those that are wrong."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffusion4k.data.images import open_rgb
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.preference.study.checks import check_positions
from diffusion4k.preference.study.config import read_study
from diffusion4k.preference.study.material import CHECK_SCENES, Unit, find_material
from diffusion4k.preference.study.patches import grid
from diffusion4k.preference.study.pictures import find_scenes
from diffusion4k.preference.study.questions import PAPER
from diffusion4k.sampling.files import write_image
from diffusion4k.sampling.request import SamplingSettings
from tests.preference.study.fake import make_images, make_study, write_study


def models(folder: Path, *names: str) -> dict[str, str]:
    return {name: str(folder / name) for name in names}


def record(path: Path, prompt: str, seed: int, model: str) -> None:
    """An image as `generate` writes it."""
    settings = SamplingSettings(prompt, "", seed, 1, 1.0, 64, 64, model, model, "float32")
    path.parent.mkdir(exist_ok=True)
    write_image([np.full((64, 64, 3), seed, np.uint8)], path, settings)


def test_images_are_brought_together_by_their_records(tmp_path: Path) -> None:
    for model in ("a", "b"):
        for seed, prompt in ((2, "lake"), (1, "lake"), (0, "hill")):
            name = f"{model}{9 - seed}.png"  # names say nothing, and are in another order
            record(tmp_path / model / name, prompt, seed, model)
    found = find_scenes(models(tmp_path, "a", "b"), None)
    assert [(s.id, s.prompt) for s in found.scenes] == [
        ("1", "hill"),
        ("2", "lake"),
        ("2b", "lake"),
    ]
    for scene, seed in zip(found.scenes, (0, 1, 2), strict=True):
        assert [path.name for path in scene.images.values()] == [
            f"a{9 - seed}.png",
            f"b{9 - seed}.png",
        ]


def test_images_without_prompts_follow_the_lines_of_the_file(tmp_path: Path) -> None:
    for model in ("a", "b"):
        (make_images(tmp_path / model, 3, 0) / "metadata.jsonl").unlink()
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("lake\nhill\nsea\n")
    found = find_scenes(models(tmp_path, "a", "b"), prompts)
    assert [(s.prompt, s.images["b"].name) for s in found.scenes] == [
        ("lake", "0.png"),
        ("hill", "1.png"),
        ("sea", "2.png"),
    ]
    (tmp_path / "b" / "1.png").unlink()
    with pytest.raises(UsageError, match=r"b: 2 images without prompts, 3 prompts in .*give"):
        find_scenes(models(tmp_path, "a", "b"), prompts)
    with pytest.raises(UsageError, match=r"b: no image called 1, as another folder has: make it"):
        find_scenes(models(tmp_path, "a", "b"), None)


def test_an_image_of_one_model_is_missing(tmp_path: Path) -> None:
    make_images(tmp_path / "a", 3, 0)
    make_images(tmp_path / "b", 2, 1, first=1)
    with pytest.raises(UsageError) as error:
        find_scenes(models(tmp_path, "a", "b"), None)
    said = f"{tmp_path}/b: no image of prompt 1: 'prompt 0': make it, or say `missing: skip`"
    assert str(error.value) == said
    found = find_scenes(models(tmp_path, "a", "b"), None, skip_missing=True)
    assert [scene.prompt for scene in found.scenes] == ["prompt 1", "prompt 2"]
    assert found.notes == ["1 scene left out, as a model has no image of it"]
    make_images(tmp_path / "c", 2, 1, first=7)
    with pytest.raises(UsageError, match="no image of prompt 1"):
        find_scenes(models(tmp_path, "a", "c"), None, skip_missing=True)


def test_unequal_sizes_are_told_and_prompts_given_twice_refused(tmp_path: Path) -> None:
    make_images(tmp_path / "a", 2, 0)
    make_images(tmp_path / "b", 2, 1, size=(80, 80))
    found = find_scenes(models(tmp_path, "a", "b"), None)
    assert found.notes == ["prompt 1: images of unequal sizes: a 96x64, b 80x80 (and 1 more)"]
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("prompt 1\nprompt 0\nprompt 1\n")
    with pytest.raises(UsageError, match=r"prompts.txt: prompt 3 repeats prompt 1, 'prompt 1'"):
        find_scenes(models(tmp_path, "a", "b"), prompts)


def test_folders_that_are_none(tmp_path: Path) -> None:
    make_images(tmp_path / "a", 1, 0)
    with pytest.raises(UsageError, match=r"task.prompts: found .*absent.txt, .* give a .txt or"):
        find_scenes(models(tmp_path, "a"), tmp_path / "absent.txt")
    with pytest.raises(UsageError, match=r"b: no such folder"):
        find_scenes(models(tmp_path, "a", "b"), None)
    (tmp_path / "b").mkdir()
    with pytest.raises(Diffusion4kError, match=r"b: no images in it"):
        find_scenes(models(tmp_path, "a", "b"), None)


def test_all_pairs_of_three_models_and_their_checks(tmp_path: Path) -> None:
    config = read_study(make_study(tmp_path, prompts=20, models=3))
    random = np.random.default_rng(0)
    for path in tmp_path.glob("images-*/*.png"):
        Image.fromarray(random.integers(0, 256, (64, 96, 3), np.uint8)).save(path)
    material = find_material(config)
    assert len(material.units) == 20 * 3
    assert all(unit.models == tuple(sorted(unit.models)) for unit in material.units)
    assert len({unit.name for unit in material.everything()}) == len(list(material.everything()))
    for kind, units in material.checks.items():
        assert len(units) == CHECK_SCENES
        assert {unit.check for unit in units} == {kind}
        assert len({unit.models[0] for unit in units}) == 3
    for unit in material.checks["identical"]:
        assert unit.paths[0] == unit.paths[1]
    again = find_material(config)
    for unit, same in zip(material.checks["degraded"], again.checks["degraded"], strict=True):
        assert unit == same
        sharp, blurred = (np.asarray(open_rgb(path)).astype(float) for path in unit.paths)
        assert sharp.shape == blurred.shape
        # Of its detail little is left, of its colour all.
        assert np.diff(blurred, axis=1).std() < 0.25 * np.diff(sharp, axis=1).std()
        np.testing.assert_allclose(blurred.mean((0, 1)), sharp.mean((0, 1)), atol=3)


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), size=st.integers(32, 700))
def test_the_squares_of_a_grid(width: int, height: int, size: int) -> None:
    places = grid(width, height, size)
    assert len(places) == (width // size) * (height // size)
    for x, y in places:
        assert 0 <= x <= width - size
        assert 0 <= y <= height - size
    for (x, y), (u, v) in pairwise(places):
        assert abs(x - u) >= size or abs(y - v) >= size


def test_patches_are_parts_of_their_images(tmp_path: Path) -> None:
    content: dict[str, Any] = {
        "name": "patches",
        "title": "Patches",
        "folder": str(tmp_path / "kept"),
        "task": {
            "kind": "rating",
            "images": {
                m: str(make_images(tmp_path / m, 2, s, (200, 160))) for s, m in enumerate("ab")
            },
            "patches": {"size": 64, "per_image": 3},
        },
    }
    material = find_material(read_study(write_study(tmp_path, content)))
    assert len(material.units) == 2 * 2 * 3
    places: dict[str, set[str]] = {"a": set(), "b": set()}
    for unit in material.units:
        (path,) = unit.paths
        model, stem, _, x, y, _ = path.stem.split("-")
        places[model].add(f"{stem}-{x}-{y}")
        original = open_rgb(tmp_path / model / f"{stem}.png")
        left, top = int(x[1:]), int(y[1:])
        expected = original.crop((left, top, left + 64, top + 64))
        np.testing.assert_array_equal(open_rgb(path), expected)
    assert places["a"] == places["b"]
    # They are not cut again, unless an image was made anew.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept/patches").iterdir()}
    Image.new("RGB", (200, 160)).save(tmp_path / "a/0.png")
    again = find_material(read_study(write_study(tmp_path, content)))
    fresh = {unit.paths[0] for unit in again.units} - set(before)
    assert len(fresh) == 3
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    content["task"]["patches"]["size"] = 256
    with pytest.raises(UsageError, match=r"200x160 pixels, too small for a patch of 256: lower"):
        find_material(read_study(write_study(tmp_path, content)))
    content["task"]["patches"] = None
    with pytest.raises(UsageError, match=r"0.png: patches of two models have this name"):
        find_material(read_study(write_study(tmp_path, content)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": {"kind": "ranking"}}, "task.kind: found 'ranking', allowed 'pairwise'"),
        ({"name": "Not A Name"}, "name: found 'Not A Name', allowed 1 to 63 small"),
        ({"views": 0}, "views: found 0"),
        ({"colour": "red"}, "colour: unknown key"),
        (
            {"task": {"models": {"a": "x"}}},
            "yaml: task.models: found {'a': 'x'}, allowed 2 or more",
        ),
        (
            {"task": {"models": {"a/b": "x", "c": "y"}}},
            "yaml: task.models.a/b: found 'a/b', allowed",
        ),
        (
            {"task": {"questions": [{"name": "a", "title": "A", "text": "?"}] * 2}},
            "task.questions: found a twice",
        ),
        ({"database": "study.db"}, "found 'study.db', allowed an address `postgresql"),
    ],
)
def test_studies_that_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        read_study(make_study(tmp_path, prompts=1, **change))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_questions_are_the_paper_s() -> None:
    assert [question.name for question in PAPER] == [
        "visual_aesthetics",
        "prompt_adherence",
        "fine_details",
    ]
    assert PAPER[0].text == (
        "Given the prompt, which image is of higher-quality and aesthetically more pleasing?"
    )
    assert PAPER[1].text == (
        "Which image looks more representative to the text shown above and faithfully follows it?"
    )
    assert PAPER[2].text == (
        "Which image more accurately represents the fine visual details? Focus on clarity, "
        "sharpness, and texture. Assess the fidelity of fine elements such as edges, patterns, and "
        "nuances in color. The more precise representation of these details is preferred! Ignore "
        "other aspects."
    )


def unit(kind: str, name: str = "u") -> Unit:
    return Unit(name, ("m", "m"), (Path("x"), Path("y")), "1", "", kind)  # type: ignore[arg-type]


@given(
    counts=st.fixed_dictionaries({"identical": st.integers(0, 4), "degraded": st.integers(0, 4)}),
    units=st.integers(1, 60),
    who=st.integers(1, 1000),
)
def test_checks_are_spread_over_all_that_is_seen(
    counts: dict[Any, int], units: int, who: int
) -> None:
    pools: dict[Any, list[Unit]] = {
        kind: [unit(kind, f"{kind} {n}") for n in range(8)] for kind in counts
    }
    found = check_positions(counts, units, pools, 0, who)
    assert Counter(u.check for u in found.values()) == Counter(
        {kind: count for kind, count in counts.items() if count}
    )
    assert len({u.name for u in found.values()}) == len(found)
    assert 0 not in found
    if units >= 2 * len(found) and found:
        stretch = (units + len(found)) / len(found)
        for number, place in enumerate(sorted(found)):
            assert number * stretch - 1 <= place < (number + 1) * stretch
    assert found == check_positions(counts, units, pools, 0, who)


def test_images_without_prompts_go_by_their_names(tmp_path: Path) -> None:
    """With questions of one's own; endings may differ, sub-folders are part of the name."""
    for model, size in (("a", 0), ("b", 1)):
        (make_images(tmp_path / model, 2, size) / "metadata.jsonl").unlink()
        (tmp_path / model / "Löwen zahn").mkdir()
        (tmp_path / model / "1.png").rename(tmp_path / model / "Löwen zahn" / "1.png")
    Image.open(tmp_path / "a/0.png").save(tmp_path / "a/0.jpg")
    (tmp_path / "a/0.png").unlink()
    own = [{"name": "wall", "title": "Wall", "text": "Which would you hang on your wall?"}]
    task = {"kind": "pairwise", "models": models(tmp_path, "a", "b")}
    content = {"name": "own", "title": "Own", "folder": str(tmp_path / "kept"), "task": task}
    with pytest.raises(UsageError, match=r"a: its images carry no prompts, .* `questions` of your"):
        find_material(read_study(write_study(tmp_path, content)))
    task["questions"] = own
    material = find_material(read_study(write_study(tmp_path, content)))
    assert [(u.prompt_id, u.text) for u in material.units] == [("0", ""), ("Löwen zahn/1", "")]
    assert [path.name for path in material.units[0].paths] == ["0.jpg", "0.png"]
    copies = [path.name for unit in material.checks["degraded"] for path in unit.paths[1:]]
    assert len(copies) == 2 and copies[1].startswith("L_wen_zahn_1-")
    (tmp_path / "b/0.png").unlink()
    with pytest.raises(UsageError, match=r"b: no image called 0, as another folder has: make it"):
        find_material(read_study(write_study(tmp_path, content)))
    task["missing"] = "skip"
    material = find_material(read_study(write_study(tmp_path, content)))
    assert len(material.units) == 1
    assert material.notes == ["1 scene left out, as a model has no image of it"]


def test_a_prompt_that_one_folder_knows_is_the_other_s_too(tmp_path: Path) -> None:
    make_images(tmp_path / "a", 2, 0)
    (make_images(tmp_path / "b", 2, 1) / "metadata.jsonl").unlink()
    found = find_scenes(models(tmp_path, "a", "b"), None)
    assert [(scene.id, scene.prompt) for scene in found.scenes] == [
        ("0", "prompt 0"),
        ("1", "prompt 1"),
    ]


MANUAL = Path(__file__).parents[3] / "docs" / "study.md"


def test_the_manual_s_example_of_two_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is printed, on two folders without prompts."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```yaml\n(.*?)^```", MANUAL.read_text(), re.M | re.S)
    (own,) = [block for block in blocks if block.startswith("name: own")]
    (consent,) = [block for block in blocks if block.startswith("consent:")]
    (tmp_path / "own.yaml").write_text(own + consent)
    for model in ("before", "after"):
        (make_images(tmp_path / model, 3, 0) / "metadata.jsonl").unlink()
    config = read_study(tmp_path / "own.yaml")
    assert config.consent.startswith("We are the imaging group") and "\n" not in config.consent[:80]
    assert [unit.models for unit in find_material(config).units] == [("after", "before")] * 3
