"""The judge of a study, and of images whose prompts are in a file."""

import json
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

import diffusion4k.cli.judge
import diffusion4k.cli.study
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.preference.answers import read_answers
from tests.endpoint.server import serving
from tests.preference.judge.conftest import make_models
from tests.preference.judge.server import Judge
from tests.preference.study.fake import Running, choices

app = typer.Typer()
diffusion4k.cli.judge.register(app)
diffusion4k.cli.study.register(app)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def make_study(folder: Path, number: int, **task: object) -> Path:
    """A study of red and blue images, whose prompts are in a file."""
    red, blue = make_models(folder, number)
    prompts = [f"a lake, number {i}" for i in range(number)]
    (folder / "prompts.txt").write_text("\n".join(prompts))
    for model in (red, blue):
        (Path(model) / "metadata.jsonl").unlink()
    content = {
        "name": "colours",
        "title": "Colours",
        "folder": str(folder / "kept"),
        "task": {
            "kind": "pairwise",
            "models": {"red": red, "blue": blue},
            "prompts": str(folder / "prompts.txt"),
            "checks": {"identical": 0, "degraded": 0},
            **task,
        },
        "participants": {"open": True},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return folder / "study.yaml"


def test_people_and_judge_of_one_study_file(tmp_path: Path) -> None:
    study = make_study(tmp_path, 6)
    with serving(Judge(preference={"fine_details": 1.0}, bias=0)) as url:
        judged = run("judge", study, "--endpoint", url)
    assert judged.exit_code == 0, judged.output
    assert "36 answers" in judged.stdout
    assert {path.name for path in (tmp_path / "kept/judged").iterdir()} >= {"answers.jsonl"}
    # Before anyone has answered, the judge alone; then both, about the same prompts.
    assert run("study", "report", study, "--out", tmp_path / "report").stdout.startswith("gpt-4o: ")
    running = Running(study)
    person = running.join()
    while not (found := person.next()).get("finished"):
        person.reply(found["position"], choices(person))
    running.close()
    result = run("study", "report", study, "--out", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:2] == [
        "people: 18 answers by 1 person about 6 prompts",
        "gpt-4o: 36 answers about 6 prompts",
    ]
    results = json.loads((tmp_path / "report/results.json").read_text())
    assert results["judges_against_people"]["gpt-4o"]["items"] == 18
    ids = {a.prompt_id for a in read_answers(tmp_path / "kept/judged/answers.jsonl")}
    assert ids == {str(number) for number in range(1, 7)}


def test_prompts_in_a_file(tmp_path: Path) -> None:
    study = make_study(tmp_path, 3)
    folders = [tmp_path / "red", tmp_path / "blue"]
    error = run("judge", *folders, "--estimate").exception
    assert isinstance(error, Diffusion4kError) and "give a file of --prompts, or write" in str(
        error
    )
    told = run("judge", *folders, "--prompts", tmp_path / "prompts.txt", "--estimate")
    assert told.exit_code == 0 and "6 requests for 3 pairs in both orders" in told.stdout
    assert told.stdout == run("judge", study, "--estimate").stdout
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    error = run("judge", *folders, "--prompts", tmp_path / "prompts.txt", "--estimate").exception
    assert isinstance(error, UsageError) and "3 images without prompts, 2 prompts" in str(error)


@pytest.mark.parametrize(
    ("task", "arguments", "said"),
    [
        ({"questions": [{"name": "wall", "title": "T", "text": "t"}]}, (), "other questions than"),
        ({}, ("--prompts", "prompts.txt"), "--prompts prompts.txt: a study has prompts of its own"),
        ({}, ("task.prompts=absent.txt",), "found absent.txt, which is not a file"),
        ({}, ("colour=red",), "colour: unknown key"),
    ],
)
def test_studies_that_it_cannot_judge(
    tmp_path: Path, task: dict[str, object], arguments: tuple[str, ...], said: str
) -> None:
    study = make_study(tmp_path, 1, **task)
    error = run("judge", study, *arguments, "--estimate").exception
    assert isinstance(error, UsageError) and said in str(error)
    assert not (tmp_path / "kept").exists()
