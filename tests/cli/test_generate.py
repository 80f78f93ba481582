"""The verb `generate`: options to images, mistakes to one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from diffusers import SD3Transformer2DModel
from PIL import Image
from typer.testing import CliRunner

from benchmarks.tiny import fill_zeros
from diffusion4k.accounting.machine import Machine
from diffusion4k.cli import generate
from diffusion4k.errors import UsageError
from diffusion4k.lora import add_adapter, write_adapter
from diffusion4k.planning import warning
from diffusion4k.sampling import read_metadata

app = typer.Typer()
app.callback()(lambda: None)
generate.register(app)


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, ["generate", *map(str, arguments)], catch_exceptions=False, standalone_mode=False
    )
    return result.stdout


def test_options_reach_the_image(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    # fmt: off
    told = _run(
        "a cat", "--model", tiny_model, "--width", 96, "--height", 64, "--steps", 2,
        "--guidance", 3, "--seed", 9, "--negative-prompt", "blur", "--out", path,
    )
    # fmt: on
    assert told.split() == [str(path)]
    assert Image.open(path).size == (96, 64)
    expected = {"prompt": "a cat", "negative_prompt": "blur", "seed": 9, "steps": 2, "guidance": 3}
    assert expected.items() <= read_metadata(path).items()


def test_positions_reach_the_image(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    wide = ("a", "--model", tiny_model, "--width", 2304, "--height", 32, "--steps", 1)
    with pytest.raises(UsageError, match="largest size is 2048x2048"):
        _run(*wide, "--out", path)
    _run(*wide, "--positions", "extend", "--attention-chunk", 64, "--out", path)
    assert Image.open(path).size == (2304, 32)
    expected = {"positions": "extend", "side": 2304, "attention_chunk": 64}
    assert json.loads(read_metadata(path)["high_resolution"]) == expected
    for option in (("--positions", "ntk"), ("--time-dependent",)):
        with pytest.raises(UsageError, match="high_resolution"):
            _run(*wide, *option, "--out", path)


def test_stages_reach_the_image(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    asked = ("a cat", "--model", tiny_model, "--width", 96, "--height", 64, "--steps", 1)
    # fmt: off
    _run(
        *asked, "--stages", "32,64", "--stage-strength", 0.5, "--stage-steps", 2, "--window", 2,
        "--low-bands", "constant", "--keep-stages", "--out", path,
    )
    # fmt: on
    draft, middle, last = read_metadata(path)["stages"]
    assert (draft["width"], draft["height"], draft["steps"]) == (32, 16, 1)
    assert (middle["width"], last["width"], last["height"]) == (64, 96, 64)
    expected = {"strength": 0.5, "steps": 2, "window": 2, "low_bands": "constant"}
    assert expected.items() <= last.items() and expected.items() <= middle.items()
    assert len(list((tmp_path / "cat-stages").iterdir())) == 2
    _run(*asked, "--draft", 32, "--out", tmp_path / "doubled.png")
    assert [stage["width"] for stage in read_metadata(tmp_path / "doubled.png")["stages"]] == [
        32,
        64,
        96,
    ]
    _run(*asked, "--direct", "--out", tmp_path / "direct.png")
    assert read_metadata(tmp_path / "direct.png")["stages"] is None
    for options, message in (
        (("--direct", "--draft", 32), "--direct contradicts"),
        (("--stages", "32;64"), "stages 32;64: give longer sides in pixels"),
        (("--stages", "32", "--stage-strength", 0), "stage strength 0.0: allowed"),
        (("--window", 4), "is made directly"),
    ):
        with pytest.raises(UsageError, match=message):
            _run(*asked, *options, "--out", tmp_path / "refused.png")


def test_refinement_lora_and_memory_reach_the_image(tiny_model: Path, tmp_path: Path) -> None:
    transformer = SD3Transformer2DModel.from_pretrained(tiny_model, subfolder="transformer")
    add_adapter(transformer, rank=1, alpha=1, targets=["to_q"], seed=0)
    fill_zeros(transformer)
    write_adapter(tmp_path, transformer, {"family": "sd3", "base_model": "tiny"})
    start = tmp_path / "start.png"
    Image.effect_mandelbrot((48, 32), (-2, -1.5, 1, 1.5), 100).convert("RGB").save(start)
    path = tmp_path / "cat.png"
    # fmt: off
    result = CliRunner().invoke(app, [
        "generate", "a cat", "--model", str(tiny_model), "--width", "96", "--height", "64",
        "--steps", "4", "--init", str(start), "--strength", "0.5", "--lora", str(tmp_path),
        "--lora-scale", "0.8", "--memory", "low", "--weights", "fp8", "--out", str(path),
    ], catch_exceptions=False, standalone_mode=False)
    # fmt: on
    lines = result.stderr.splitlines()
    assert sum(line.startswith("memory low: ") for line in lines) == 1
    record = read_metadata(path)
    assert record["strength"] == 0.5 and record["lora_scale"] == 0.8 and record["weights"] == "fp8"
    assert Image.open(path).size == (96, 64)


def test_prompts_times_seeds_as_jpeg(tiny_model: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a cat\na dog\n")
    # fmt: off
    told = _run(
        "--prompts", prompts, "--model", tiny_model, "--width", 64, "--height", 64, "--steps", 1,
        "--seed", 0, "--seed", 1, "--format", "jpeg", "--out", tmp_path / "images",
    )
    # fmt: on
    paths = [Path(line) for line in told.splitlines()]
    assert len(paths) == 4 and all(path.suffix == ".jpg" for path in paths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one prompt"),
        (["a cat", "--prompts", "p.txt"], "give one prompt"),
        ([""], "the prompt is empty"),
        (["a cat", "--width", "1000"], "the nearest: 992 or 1024"),
        (["a cat", "--strength", "0.5", "--width", "64"], "start from: give one with --init"),
        (["a cat", "--init", "absent.png", "--width", "64"], "init absent.png: no such file"),
        (["a cat", "--lora", "absent"], "absent: no such file: give the folder"),
        (["a cat", "--lora-scale", "0.5"], "without a LoRA"),
        (["a cat", "--memory", "less"], "allowed are low, balanced, high"),
        (["a cat", "--weights", "fp4"], "allowed are fp8, int8, nf4 and gguf:FILE"),
        (["a cat", "--width", "4096"], "the largest size is 2048x2048"),
    ],
)
def test_mistakes_are_refused(
    tiny_model: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        _run("--model", tiny_model, "--height", 64, "--out", tmp_path / "out", *arguments)


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such model"):
        _run("a cat", "--model", tmp_path / "absent")


def test_importing_the_verb_is_cheap() -> None:
    code = "import sys, diffusion4k.cli.generate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_too_little_memory_is_told_before_the_start(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warning, "present_machine", lambda **_: Machine(0, 2**20, 0, 0, 1, 1, 1))
    options = ["--width", "64", "--height", "64", "--steps", "1", "--guidance", "0"]
    made = CliRunner().invoke(
        app,
        ["generate", "a cat", "--model", str(tiny_model), "--out", f"{tmp_path}/a.png", *options],
    )
    assert made.exit_code == 0 and (tmp_path / "a.png").is_file()
    told = [line for line in made.stderr.splitlines() if line.startswith("warning:")]
    assert len(told) == 1 and "does not fit" in told[0]
