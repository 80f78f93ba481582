"""Which folders are taken, and which images stand in one row."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.imagesets.match import match_images
from diffusion4k.imagesets.models import ImageSetEntry, Model, is_inside, read_models
from diffusion4k.sampling.files import write_image
from diffusion4k.sampling.request import SamplingSettings

SMALL = (32, 32)


def caption(folder: Path, **texts: object) -> None:
    rows = [
        {
            "file_name": name.replace("_", "."),
            **(text if isinstance(text, dict) else {"text": text}),
        }
        for name, text in texts.items()
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


def read(*folders: Path | str) -> list[Model]:
    return read_models([str(folder) for folder in folders], 1, 6)


def names(models: list[Model], match: str = "auto") -> list[list[str | None]]:
    rows = match_images(models, match)  # type: ignore[arg-type]
    return [[entry and entry.file_name for entry in row.entries] for row in rows]


def test_by_file_name_whatever_the_ending(folder: Callable[..., Path]) -> None:
    models = read(
        folder("a", x_png=SMALL, y_png=SMALL), folder("b", y_jpg=SMALL, x_jpg=SMALL, z_jpg=SMALL)
    )
    assert names(models) == [["x.png", "x.jpg"], ["y.png", "y.jpg"], [None, "z.jpg"]]
    assert [row.prompt for row in match_images(models)] == ["x", "y", "z"]


def test_a_model_without_seeds_keeps_its_partners(folder: Callable[..., Path]) -> None:
    a, b = folder("a", m_png=SMALL, n_png=SMALL), folder("b", o_png=SMALL, p_png=SMALL)
    c = folder("c", q_png=SMALL, r_png=SMALL)
    caption(a, m_png={"text": "lake", "seed": 7}, n_png={"text": "lake", "seed": 8})
    caption(b, o_png={"text": "lake", "seed": 7}, p_png={"text": "lake", "seed": 8})
    caption(c, q_png="lake", r_png="lake")
    assert names(read(a, b)) == [["m.png", "o.png"], ["n.png", "p.png"]]
    assert names(read(a, b, c)) == [["m.png", "o.png", "q.png"], ["n.png", "p.png", "r.png"]]


def test_by_prompt_where_names_differ_or_contradict(folder: Callable[..., Path]) -> None:
    a, b = folder("a", x_png=SMALL, y_png=SMALL), folder("b", x_png=SMALL, q_png=SMALL)
    caption(a, x_png="a lake", y_png="a hill")
    caption(b, x_png="a hill", q_png="a lake")
    models = read(a, b)
    assert names(models) == [["x.png", "q.png"], ["y.png", "x.png"]]
    assert names(models, "name") == [["x.png", "x.png"], ["y.png", None], [None, "q.png"]]


def test_seeds_count_if_they_find_partners(folder: Callable[..., Path]) -> None:
    a, b = folder("a", m_png=SMALL, n_png=SMALL), folder("b", o_png=SMALL, p_png=SMALL)
    caption(a, m_png={"text": "t", "seed": 1}, n_png={"text": "t", "seed": 2})
    caption(b, o_png={"text": "t", "seed": 2}, p_png={"text": "t", "seed": 1})
    assert names(read(a, b)) == [["m.png", "p.png"], ["n.png", "o.png"]]
    caption(b, o_png={"text": "t", "seed": 8}, p_png={"text": "t", "seed": 9})
    assert names(read(a, b)) == [["m.png", "o.png"], ["n.png", "p.png"]]


def test_prompts_of_our_own_images(folder: Callable[..., Path], tmp_path: Path) -> None:
    sizes = {"width": 32, "height": 32, "steps": 1, "guidance": 1.0, "dtype": "float32"}
    for model in ("a", "b"):
        for seed in (0, 1):
            made = SamplingSettings(
                prompt='a sign that says "<b>hi</b>"', seed=seed, model=model,
                model_fingerprint=model, negative_prompt="", **sizes,
            )  # fmt: skip
            image = Image.effect_noise((32, 32), 90).convert("RGB")
            path = tmp_path / model / f"{model}{seed}.png"
            path.parent.mkdir(exist_ok=True)
            write_image([np.asarray(image)], path, made)
    models = read(tmp_path / "a", tmp_path / "b")
    assert names(models) == [["a0.png", "b0.png"], ["a1.png", "b1.png"]]
    assert match_images(models)[0].prompt == 'a sign that says "<b>hi</b>"'


def test_nothing_in_common(folder: Callable[..., Path]) -> None:
    models = read(folder("a", x_png=SMALL), folder("b", y_png=SMALL))
    with pytest.raises(Diffusion4kError, match="no two images share a file name or prompt"):
        match_images(models)
    with pytest.raises(Diffusion4kError, match="no two images share a prompt"):
        match_images(models, "prompt")


@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1), min_size=2, max_size=4))
def test_every_image_stands_in_one_row_and_partners_share_a_prompt(
    folders: list[list[str]],
) -> None:
    models = [
        Model(
            str(m),
            Path(str(m)),
            [ImageSetEntry(Path(f"{m}/{i}"), f"{m}-{i}.png", p) for i, p in row],
        )
        for m, row in enumerate(map(list, map(enumerate, folders)))
    ]
    try:
        rows = match_images(models, "prompt")
    except Diffusion4kError:
        assert sum(len(set(p)) for p in folders) == len(set().union(*folders))
        return
    for index, model in enumerate(models):
        placed = [row.entries[index] for row in rows if row.entries[index]]
        assert sorted(placed, key=str) == sorted(model.entries, key=str)
    for row in rows:
        assert {entry.prompt for entry in row.entries if entry} == {row.prompt}
    for prompt in "abcd":
        # As few rows as the folder with most images of the prompt needs.
        most = max(row.count(prompt) for row in folders)
        assert sum(row.prompt == prompt for row in rows) == most


def test_folders_that_are_refused(folder: Callable[..., Path], tmp_path: Path) -> None:
    a = folder("a", x_png=SMALL)
    (tmp_path / "other" / "a").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"1 image folder given: allowed are 2 to 6"):
        read_models([str(a)], 2, 6)
    with pytest.raises(UsageError, match="both called a: rename one, as in other="):
        read(a, tmp_path / "other" / "a")
    with pytest.raises(UsageError, match="no such folder"):
        read(a, "b=nowhere")
    with pytest.raises(UsageError, match="give FOLDER or NAME=FOLDER"):
        read(a, f" ={a}")
    with pytest.raises(Diffusion4kError, match="no images in it"):
        read(a, f"b={tmp_path / 'other' / 'a'}")
    Image.new("RGB", SMALL).save(a / "x.jpg")
    with pytest.raises(Diffusion4kError, match=r"x.png: differs from x.jpg only by its ending"):
        read(a)


def test_a_folder_with_an_equals_sign(folder: Callable[..., Path]) -> None:
    assert read(folder("steps=28", x_png=SMALL))[0].name == "steps=28"


def test_metadata_that_leads_out_is_refused(folder: Callable[..., Path]) -> None:
    a = folder("a", x_png=SMALL)
    (a / "metadata.jsonl").write_text('{"file_name": "../secret.png", "text": "t"}')
    with pytest.raises(Diffusion4kError, match=r"metadata.jsonl:1: ../secret.png leads out"):
        read(a)


def test_is_inside(folder: Callable[..., Path], tmp_path: Path) -> None:
    models = read(folder("a", x_png=SMALL))
    assert is_inside(tmp_path / "a" / "page", models) is models[0]
    assert is_inside(tmp_path / "a" / ".." / "page", models) is None
