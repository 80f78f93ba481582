"""Every command that the manual shows, run as it stands, but small.

A command is kept word for word except for what makes it large: sizes, steps, and full-size models,
whose place a tiny pipeline of the same classes takes.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from diffusers import SD3Transformer2DModel
from PIL import Image

import diffusion4k.models.folder as model_folders
from benchmarks.tiny import fill_zeros, tiny_sd3
from diffusion4k.benchmark.recipe import BenchmarkRecipe
from diffusion4k.cli.main import main
from diffusion4k.config.read import read_config
from diffusion4k.lora import add_adapter, write_adapter
from diffusion4k.training.autoencoder.recipe import AutoencoderRecipe
from diffusion4k.training.recipe.recipe import Recipe
from tests.families.test_flux import tiny_flux

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
"""README's commands run in their order: see `test_readme`."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OVERRIDES = {
    "steps": 2,
    "schedule.warmup_steps": 0,
    "batch_size": 1,
    "global_batch_size": "null",
    "resolution": 128,
    "crop": 128,
    "checkpoint.every": 1,
    "validation.samples": 1,
    "precision": "fp32",
    "report.pictures": 1,
    "report.side": 128,
}


def blocks(page: Path, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(page.read_text()) if language in languages]


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for body in blocks(page, "bash", "sh", "console"):
            lines = body.replace("\\\n", " ").splitlines()
            found += [(page.name, line.strip()) for line in lines if line.strip()]
    return found


COMMANDS = commands()
BUNDLED = model_folders.bundled_models()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The bundled models with small defaults, and a tiny pipeline in place of a full-size one.

    Beside the latter, under the name `flux`, one in place of Flux.
    """
    folder = tmp_path_factory.mktemp("models")
    small = folder / "model"
    for bundled in filter(Path.is_dir, model_folders.bundled_models().values()):
        copy = Path(shutil.copytree(bundled, folder / bundled.name))
        settings = json.loads((copy / "diffusion4k.json").read_text())
        settings |= {"width": 256, "height": 256, "steps": 1}
        (copy / "diffusion4k.json").write_text(json.dumps(settings))
    tiny_flux(folder / "flux")
    return small, tiny_sd3(folder / "full-size")


@pytest.fixture
def place(tmp_path: Path, models, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: recipes, photographs, prompts, images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_folders, "POCKET_FOLDER", models[0])
    shutil.copytree(ROOT / "recipes", "recipes")
    study = Path("recipes/pocket-study.yaml")
    study.write_text(study.read_text().replace("prompts: pocket ", "prompts: prompts.txt "))
    for name in ("photographs", "images"):
        Path(name).mkdir()
        for i, colour in enumerate(("teal", "orange")):
            image = Image.effect_mandelbrot((320, 256), (-2 - i, -1.5, 1, 1.5), 100)
            Image.merge("RGB", [image, Image.new("L", image.size, colour), image]).save(
                f"{name}/{i}.jpg", quality=95
            )
    shutil.copytree("images", "images-lora")
    rows = [{"file_name": f"{i}.jpg", "text": f"a fractal, number {i}"} for i in range(2)]
    Path("photographs/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("prompts.txt").write_text("a lake\na mountain\n")
    Path("networks.yaml").write_text("long_prompts: mean\n")  # no weights: all columns are missing
    Path("patches").mkdir()
    for i in range(4):
        noise = Image.effect_noise((128, 128), 10 + 20 * i)
        Image.merge("RGB", [noise] * 3).save(f"patches/{i}.jpg", quality=95)
    ratings = [f"{i}.jpg,{rater},{2 * i + n + 1}" for i in range(4) for n, rater in enumerate("ab")]
    Path("ratings.csv").write_text("\n".join(["image,rater,rating", *ratings]))
    Image.effect_mandelbrot((128, 128), (-2, -1.5, 1, 1.5), 100).convert("RGB").save("lake.png")
    for page in PAGES:
        for body in blocks(page, "python"):
            if module := re.match(r"# (\w+\.py)\n", body):  # which commands of the page name
                Path(module[1]).write_text(body)
    adapted = SD3Transformer2DModel.from_pretrained(models[0], subfolder="transformer")
    add_adapter(adapted, rank=1, alpha=1, targets=["to_q"], seed=0)
    fill_zeros(adapted)
    write_adapter(Path("runs/pocket-lora/lora"), adapted, {"family": "sd3", "base_model": "pocket"})
    return tmp_path


def small(words: list[str], full_size: Path) -> list[str]:
    """The command's words with small sizes and the stand-in model."""
    verb = words[0]
    for i, word in enumerate(words):
        if words[i - 1] in ("--width", "--height"):
            words[i] = "256"
        elif words[i - 1] == "--stages":
            words[i] = "64,128" if verb == "plan" else "32"
        elif words[i - 1] == "--draft":
            words[i] = "64" if verb == "plan" else "32"
        elif words[i - 1] in ("--resolution", "--size"):
            words[i] = "128"
        elif words[i - 1] == "--model" and word not in BUNDLED and not Path(word).exists():
            words[i] = str(full_size.with_name("flux") if "flux" in word.lower() else full_size)
    if verb == "generate" and any(word.startswith(str(full_size.parent)) for word in words):
        words += ["--width", "64", "--height", "64", "--steps", "1"]
    if verb == "demo":
        words = [w if words[i - 1] != "--side" else "384" for i, w in enumerate(words)]
        words = [w if words[i - 1] != "--training-steps" else "2" for i, w in enumerate(words)]
        if "--side" not in words:
            words += ["--side", "384", "--training-steps", "2"]
    if verb == "train":
        recipe = yaml.safe_load(Path(words[1]).read_text())
        # Aspect buckets give every picture its size.
        left_out = {"crop"} if "buckets" in recipe else set()
        words += [f"{key}={value}" for key, value in OVERRIDES.items() if key not in left_out]
        if recipe["model"] != "pocket":
            words.append(f"model={full_size}")
            Path("data").mkdir(exist_ok=True)
            shutil.copytree("photographs", recipe["data"], dirs_exist_ok=True)
        elif not any(word.startswith("data=") for word in words):
            words.append("data=photographs")
    if verb == "benchmark" and words[1].endswith(".yaml"):
        side = 1024 if "stages" in words[1] else 256  # the pocket model's draft has 512
        words += ["limit=1", f"width={side}", f"height={side}", "reference=photographs"]
    if verb == "ablate":
        words += ["recipe.data=photographs", "recipe.resolution=256", "recipe.crop=256", "steps=2"]
        words += ["recipe.schedule.warmup_steps=0", "recipe.checkpoint.every=1", "seeds=[0]"]
        words += ["prompts=photographs", "limit=1", "width=256", "height=256"]
        words += ["velocity.pictures=1", "velocity.levels=2"]
    if words[:2] == ["vae", "train"]:
        words += small_autoencoder(Path(words[2]), full_size)
    return words


def small_autoencoder(recipe: Path, full_size: Path) -> list[str]:
    """Overrides for `vae train`; no full-size model and no LPIPS weights are at hand."""
    small = {
        key: value
        for key, value in OVERRIDES.items()
        if key not in ("resolution", "global_batch_size") and not key.startswith("report.")
    }
    small |= {"adversarial.start": 1, "validation.every": 1, "perceptual": "{name: effnet-pd}"}
    small |= {"data": "photographs"}
    if yaml.safe_load(recipe.read_text())["model"] != "pocket":
        small["model"] = full_size
    return [f"{key}={value}" for key, value in small.items()]


def _slow(line: str) -> tuple[pytest.MarkDecorator, ...]:
    """What is long at any size; in `make test` the tests of the same verbs stand for it."""
    verbs = ("ablate recipes/", "benchmark recipes/pocket-stages", "demo --side", "dataset stats")
    verbs += ("dataset build recipes/pocket-dataset.yaml split",)
    return (pytest.mark.slow,) if _trains(line) or any(verb in line for verb in verbs) else ()


def _trains(line: str) -> bool:
    """Whether it trains: README's trainings are whole every day, of these the checks are made."""
    return line.startswith("diffusion4k train ") and "--check" not in line


@pytest.mark.parametrize(
    ("page", "line"),
    [pytest.param(p, c, marks=_slow(c), id=f"{p}: {c}") for p, c in COMMANDS],
)
def test_command(page: str, line: str, place: Path, models, monkeypatch, capsys) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        # CI runs `make test`; the others are checked to exist.
        made = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
    elif words[0] == "python":
        compile((ROOT / words[1]).read_text(), words[1], "exec")
    elif words[0] == "accelerate":
        launched = words[words.index("diffusion4k") + 1 :]
        verb = 2 if launched[0] == "vae" else 1
        kinds = {"train": Recipe, "vae train": AutoencoderRecipe, "benchmark": BenchmarkRecipe}
        kind = kinds[" ".join(launched[:verb])]
        read_config(ROOT / launched[verb], launched[verb + 1 :], kind)
        if "--config_file" in words:
            assert (ROOT / words[words.index("--config_file") + 1]).is_file()
    else:
        assert words[0] == "diffusion4k"
        monkeypatch.setattr(sys, "argv", ["diffusion4k", *small(words[1:], models[1])])
        with pytest.raises(SystemExit) as leaving:
            main()
        assert leaving.value.code in (0, None), capsys.readouterr().err


TRAININGS = [(page, line) for page, line in COMMANDS if _trains(line)]


@pytest.mark.parametrize(("page", "line"), TRAININGS, ids=[f"{p}: {c}" for p, c in TRAININGS])
def test_a_training_passes_its_checks(
    page: str, line: str, place: Path, models, monkeypatch, capsys
) -> None:
    words = small(shlex.split(line, comments=True)[1:], models[1])
    monkeypatch.setattr(sys, "argv", ["diffusion4k", *words, "--check"])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code in (0, None), capsys.readouterr()


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_python(page: Path, place: Path, models, monkeypatch) -> None:
    bodies = blocks(page, "python")
    if not bodies:
        pytest.skip("no Python on this page")
    shutil.copytree(models[1], "model")
    shutil.copytree(models[1].with_name("flux"), "flux")
    monkeypatch.setattr(
        sys, "argv", ["diffusion4k", "generate", "a harbour", "--out", "harbour.png"]
    )
    with pytest.raises(SystemExit):
        main()
    names: dict[str, object] = {}
    for body in bodies:
        exec(compile(body, page.name, "exec"), names)
