"""`diffusion4k judge` as a user runs it; killed, interrupted: none lost, none paid twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from diffusion4k.cli.judge import register
from diffusion4k.errors import UsageError
from diffusion4k.preference.answers import read_answers
from diffusion4k.preference.judge.prompt import JudgeSettings
from diffusion4k.preference.judge.run import judge
from tests.endpoint.server import serving
from tests.preference.judge.conftest import make_models
from tests.preference.judge.server import MALFORMED, Judge

Make = Callable[..., JudgeSettings]
CONCURRENCY = 6
ROOT = Path(__file__).parents[3]

app = typer.Typer()
app.callback()(lambda: None)
register(app)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["judge", *map(str, arguments)])


def start(models: list[str], out: Path, url: str) -> subprocess.Popen[bytes]:
    code = "from tests.preference.judge.test_command import app; app()"
    command = [sys.executable, "-c", code, "judge", *models, "--out", str(out)]
    command += ["--endpoint", url, "--concurrency", str(CONCURRENCY)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"NO_COLOR": "1"})


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not happened():
        time.sleep(0.002)


def test_judges_and_says_what_came_out(tmp_path: Path) -> None:
    models = make_models(tmp_path, 6)
    with serving(Judge(preference={"fine_details": 1.0}, bias=0)) as url:
        result = run(*models, "--out", tmp_path / "out", "--endpoint", url)
    assert result.exit_code == 0, result.output
    assert "12 requests for 6 pairs in both orders" in result.stderr
    assert "fine_details: blue 0.0 % [0.0, 52.4] against red, 6 pairs" in result.stdout
    assert "36 answers; $0.0284 spent in total" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--endpoint", "localhost"), "endpoint.url: found 'localhost', allowed"),
        (("--patches", -1), "patches: found -1"),
        (("--longest", 8), "image.longest: found 8"),
        (("--model", "mine", "--budget", 1), "price of model 'mine' is not known"),
    ],
)
def test_wrong_usage(arguments: tuple[object, ...], message: str, tmp_path: Path) -> None:
    models = make_models(tmp_path, 1)
    result = run(*models, "--out", tmp_path / "out", *arguments)
    assert isinstance(result.exception, UsageError) and message in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("honours_keys", [False, True])
def test_killed_at_random_and_started_again(
    honours_keys: bool, settings: Make, tmp_path: Path
) -> None:
    kills, number = 12, 120
    models = make_models(tmp_path, number)
    chance = random.Random(kills)
    faults = ("429", "500", "cut", "reset") if honours_keys else ("429", "500")
    manners = {"honours_keys": honours_keys, "latency": 0.02, "seed": kills}
    standin = Judge(faults, 1, tuple(MALFORMED), 1, **manners)
    with serving(standin) as url:
        for _ in range(kills):
            goal = standin.requests + chance.randint(1, 2 * number // kills)
            process = start(models, tmp_path / "out", url)
            wait_for(lambda goal=goal: standin.requests >= goal, process)
            time.sleep(chance.uniform(0, 0.03))
            process.kill()
            assert process.wait() == -signal.SIGKILL
            assert not (tmp_path / "out" / "answers.jsonl").exists()
        assert start(models, tmp_path / "out", url).wait() == 0
        time.sleep(0.1)  # The server still answers those that were killed.
        with serving(Judge(seed=kills)) as other:
            fresh = judge(models, settings(other), tmp_path / "fresh", progress=False)
    found = read_answers(tmp_path / "out" / "answers.jsonl")
    assert [(a.prompt_id, a.question, a.first, a.choice) for a in found] == [
        (a.prompt_id, a.question, a.first, a.choice) for a in fresh.outcome.answers
    ]
    again = standin.answered.total() - 2 * number
    print(f"{kills} kills, {2 * number} requests: {again} paid twice")
    assert again == 0 if honours_keys else again <= kills * CONCURRENCY


def test_ctrl_c_waits_for_what_is_paid_and_the_same_command_goes_on(tmp_path: Path) -> None:
    models = make_models(tmp_path, 15)
    standin = Judge(latency=0.3)
    with serving(standin) as url:
        process = start(models, tmp_path / "out", url)
        wait_for(lambda: standin.requests > CONCURRENCY, process)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert CONCURRENCY < standin.answered.total() < 30
        assert start(models, tmp_path / "out", url).wait() == 0
    assert set(standin.answered.values()) == {1} and len(standin.answered) == 30
