"""Photographs, captions, caches and weights that are replaced under the same path."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from diffusion4k.errors import UsageError
from diffusion4k.planning.preflight import look_over
from diffusion4k.training.checkpoint.checkpoint import read_state
from diffusion4k.training.inputs import inputs_of
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import Recipe

Make = Callable[..., Recipe]
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def begun(recipe: Make, tiny_model: Path, photographs: Path, tmp_path: Path) -> Make:
    """A recipe with a model and photographs of its own, two steps done."""
    shutil.copytree(tiny_model, tmp_path / "model")
    shutil.copytree(photographs, tmp_path / "data")

    def make(**keys: object) -> Recipe:
        own = {"model": str(tmp_path / "model"), "data": str(tmp_path / "data")}
        return recipe(**{**own, "cache": None, "lora": {"rank": 2}, "steps": 2, **keys})

    train(make())
    return make


def _rows(data: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]


def _write(data: Path, rows: list[dict[str, str]]) -> None:
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _paint(path: Path) -> None:
    Image.effect_noise((96, 128), 60).convert("RGB").save(path)


def _fewer_and_others(data: Path) -> None:
    rows = _rows(data)
    for row in rows[:4]:
        (data / row["file_name"]).unlink()
    for number in range(100, 106):
        _paint(data / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "text": "something else"})
    _write(data, rows[4:])


def _repainted(data: Path) -> None:
    _paint(data / "2.png")


def _recaptioned(data: Path) -> None:
    rows = _rows(data)
    for row in rows[:3]:
        row["text"] += ", at night"
    _write(data, rows)


def _reordered(data: Path) -> None:
    _write(data, _rows(data)[::-1])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_fewer_and_others, "data: 14 photographs, 12 at step 2: 4 missing now, 6 new"),
        (_repainted, "data: 12 photographs, 12 at step 2: 1 with another picture"),
        (_recaptioned, "data: 12 photographs, 12 at step 2: 3 with another caption"),
        (_reordered, "data: 12 photographs, 12 at step 2: in another order"),
    ],
)
def test_other_photographs_under_the_same_path(
    begun: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], None],
    told: str,
) -> None:
    change(tmp_path / "data")
    index = (tmp_path / "run/cache/index.json").read_bytes()
    (problem,) = look_over(begun(steps=3), planned=False).problems
    with pytest.raises(UsageError) as error:
        train(begun(steps=3))
    assert problem == str(error.value)
    assert f"has changed since: {told}: put it back" in problem
    assert (tmp_path / "run/cache/index.json").read_bytes() == index  # nothing encoded yet
    assert not look_over(begun(steps=3), planned=False, changed_inputs=True).problems
    train(begun(steps=3), changed_inputs=True)
    assert f"resuming with changed inputs: {told}" in capsys.readouterr().err
    # From there on it is they that a checkpoint speaks of.
    train(begun(steps=4))
    noted = read_state(tmp_path / "run/checkpoints/step-000004")["inputs"]["data"]
    assert [line.split(" ")[2] for line in noted] == [
        r["file_name"] for r in _rows(tmp_path / "data")
    ]


def test_another_base_under_the_same_path(begun: Make, tmp_path: Path) -> None:
    path = tmp_path / "model" / WEIGHTS
    weights = load_file(path)
    save_file({name: value + 0.1 for name, value in weights.items()}, path, {"format": "pt"})
    with pytest.raises(UsageError, match="changed since: model: other weights than at step 2: put"):
        train(begun(steps=3))
    save_file(weights, path, {"format": "pt"})
    train(begun(steps=3))  # the same content, written anew


def test_another_cache_where_it_is_all_there_is(begun: Make, tmp_path: Path) -> None:
    keys = {"data": None, "cache": str(tmp_path / "run/cache"), "output": str(tmp_path / "second")}
    train(begun(**keys))
    _repainted(tmp_path / "data")
    _recaptioned(tmp_path / "data")
    train(begun(steps=3), changed_inputs=True)  # fills the cache with the others
    told = "cache: 12 photographs, 12 at step 2: 1 with another picture, 3 with another caption"
    with pytest.raises(UsageError, match=told):
        train(begun(**keys, steps=3))


def test_pictures_without_a_cache(begun: Make, tmp_path: Path) -> None:
    wanted = begun(uncached=True)
    before = inputs_of(wanted, tmp_path / "model")
    assert not before.changes(before.state(), 2)
    _repainted(tmp_path / "data")
    (change,) = inputs_of(wanted, tmp_path / "model").changes(before.state(), 2)
    assert change.endswith("1 with another picture")


def test_a_checkpoint_that_notes_nothing(begun: Make, tmp_path: Path) -> None:
    path = tmp_path / "run/checkpoints/step-000002/state.json"
    state = json.loads(path.read_text())
    del state["inputs"]
    path.write_text(json.dumps(state))
    _repainted(tmp_path / "data")
    train(begun(steps=3))


def test_files_that_are_only_touched_are_the_same(begun: Make, tmp_path: Path) -> None:
    for path in (*(tmp_path / "data").iterdir(), tmp_path / "model" / WEIGHTS):
        path.touch()
    train(begun(steps=3))
