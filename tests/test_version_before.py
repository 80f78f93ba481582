"""What the version before wrote is read: recipe, cache, checkpoint, ledgers, study database."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.tiny import tiny_sd3
from diffusion4k.cli.main import main
from diffusion4k.curation.captions.run import caption
from diffusion4k.curation.captions.settings import CaptionSettings
from diffusion4k.preference.answers import read_answers
from diffusion4k.preference.judge.prompt import JudgeSettings
from diffusion4k.preference.judge.run import judge
from diffusion4k.training.loop import train
from diffusion4k.training.recipe.recipe import load_recipe
from diffusion4k.training.watch.curve import Curve
from tests.endpoint.fixtures import key, settings_of  # noqa: F401
from tests.endpoint.server import StandIn, serving
from tests.preference.judge.server import Judge

WRITTEN = Path(__file__).parent / "artefacts"


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files, which is the current folder: paths in them are relative."""
    folder = tmp_path / "before"
    shutil.copytree(WRITTEN, folder)
    monkeypatch.chdir(folder)
    return folder


def test_recipe_cache_and_checkpoint(before: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny_sd3("model")
    shards = {path.name: path.read_bytes() for path in Path("cache/shards").iterdir()}
    losses = Curve.read(Path("run/loss.csv"))
    # The model's files hold the versions of the libraries that made them.
    train(load_recipe(Path("recipe.yaml"), ["steps=4"]), changed_inputs=True)
    assert "step-000002" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in Path("cache/shards").iterdir()} == shards
    after = Curve.read(Path("run/loss.csv"))
    assert after[:2] == losses and [int(row["step"]) for row in after] == [1, 2, 3, 4]


def test_ledger_of_captions(before: Path) -> None:
    pytest.importorskip("openai")
    known = json.loads(Path("captions.json").read_text())
    standin = StandIn()
    with serving(standin) as url:
        settings = settings_of(CaptionSettings, {"url": url}, {})
        pictures = sorted(Path("pictures").iterdir())
        report = caption(pictures, settings, "captions.sqlite", progress=False)
    assert {path.name: text for path, text in report.captions.items()} == known
    assert standin.requests == 0 and report.spent > 0


def test_ledger_of_the_judge(before: Path) -> None:
    pytest.importorskip("openai")
    known = read_answers("judged/answers.jsonl")
    standin = Judge(preference={}, bias=0)
    with serving(standin) as url:
        endpoint = {"url": url, "max_output_tokens": 500}
        settings = settings_of(JudgeSettings, endpoint, {})
        report = judge(["models/red", "models/blue"], settings, Path("judged"), progress=False)
    assert report.outcome.answers == known and standin.requests == 0


def test_database_of_a_study(
    before: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = Path("answers.csv").read_text()
    monkeypatch.setattr("sys.argv", ["diffusion4k", "study", "export", "study.yaml", "new.csv"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert Path("new.csv").read_text() == known and "18 answers" in capsys.readouterr().out
