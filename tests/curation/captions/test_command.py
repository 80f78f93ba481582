"""`diffusion4k dataset caption` as a user runs it: one line for what goes wrong, and no key."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from diffusion4k.data.folder import METADATA
from diffusion4k.errors import Diffusion4kError, UsageError
from tests.curation.captions.command import verb
from tests.curation.captions.conftest import make_pictures
from tests.curation.captions.test_kill import ROOT
from tests.endpoint.server import KEY, StandIn, serving

app = typer.Typer()
app.callback()(lambda: None)
app.command("caption")(verb())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["caption", *map(str, arguments)])


def process(
    *arguments: object, limit: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.curation.captions.command", "caption"]

    def small_disk() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        preexec_fn=small_disk,
    )


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_captions_and_says_what_it_cost(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    make_pictures(folder, 3)
    with serving(StandIn()) as url:
        result = run(folder, "--endpoint", url)
        assert result.exit_code == 0, result.output
        assert "3 pictures to caption" in result.stderr and "$0.01" in result.stderr
        assert "3 captions, 0 flagged, 0 problems; $0.0071 spent in total" in result.stdout
        (folder / "bad.png").write_bytes(b"")
        result = run(folder, "--endpoint", url)
        assert result.exit_code == 1 and "bad.png: empty file (0 bytes)" in result.stdout


def test_what_stops_it(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    make_pictures(folder, 9)
    with serving(standin := StandIn()) as url:
        result = run(folder, "--endpoint", url, "--budget", 0.012, "--concurrency", 2)
        assert isinstance(result.exception, Diffusion4kError) and result.exception.exit_code == 1
        assert "a higher budget continues" in str(result.exception)
        kept = (folder / METADATA).read_text().count("stand-in")
        assert kept == standin.answered.total() > 1
        assert f"{kept} captions" in result.stdout
        assert run(folder, "--endpoint", url, "--budget", 1).exit_code == 0
    assert set(standin.answered.values()) == {1} and len(standin.answered) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--endpoint", "localhost"), "endpoint.url: found 'localhost', allowed"),
        (("--detail", "medium"), "image.detail: found 'medium', allowed 'low' or 'high'"),
        (("--concurrency", 0), "endpoint.concurrency: found 0"),
        (("--quality", 101), "image.quality: found 101"),
        (("--budget", -1), "endpoint.budget: found -1.0"),
        (("--model", "mine", "--budget", 1), "price of model 'mine' is not known"),
    ],
)
def test_wrong_usage(arguments: tuple[object, ...], message: str, tmp_path: Path) -> None:
    make_pictures(tmp_path, 1)
    result = run(tmp_path, *arguments)
    assert isinstance(result.exception, UsageError) and message in str(result.exception)
    assert not (tmp_path / "captions.sqlite").exists()


def test_the_key_is_nowhere(tmp_path: Path) -> None:
    """Neither in what is printed nor in what is written, even if the endpoint repeats it."""
    folder = tmp_path / "pictures"
    make_pictures(folder, 6)
    said = []
    noisy = {"OPENAI_LOG": "debug", "PYTHONUNBUFFERED": "1"}
    standin = StandIn(("429", "500", "cut"), 2, ("refused",), 1, retry_after="0")
    with serving(standin) as url:
        other = "sk-wrong-1c9d-not-for-logs"
        wrong = process(folder, "--endpoint", url, OPENAI_API_KEY=other, **noisy)
        assert wrong.returncode == 1 and standin.requests == 1
        [line] = [line for line in wrong.stderr.splitlines() if line.startswith("error:")]
        assert "the key in OPENAI_API_KEY is not accepted" in line and "HTTP 401" in line
        assert "[key]" in line  # The stand-in repeats it.
        said += [wrong.stdout, wrong.stderr]
        good = process(folder, "--endpoint", url, **noisy)
        assert good.returncode == 0, good.stderr
        said += [good.stdout, good.stderr]
    standin = StandIn(models=("none",), refuse_all=400, message=f"bad: Bearer {KEY}")
    make_pictures(folder / "more", 1, side=80)
    with serving(standin) as url:
        for more in ((), ("--batch",)):
            bad = process(folder, "--endpoint", url, *more, **noisy)
            assert bad.returncode == 1 and "[key]" in bad.stdout + bad.stderr
            said += [bad.stdout, bad.stderr]
    everything = "".join(said).encode() + written(tmp_path)
    assert b"stand-in" in everything
    for secret in (KEY, other):
        assert secret.encode() not in everything and secret[3:].encode() not in everything
    assert "Traceback" not in "".join(said)


def test_disk_full(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    make_pictures(folder, 60)
    with serving(standin := StandIn()) as url:
        full = process(folder, "--endpoint", url, limit=600_000)
        assert full.returncode == 1, full.stderr
        errors = [line for line in full.stderr.splitlines() if line.startswith("error:")]
        assert len(errors) == 1 and "captions.sqlite" in errors[0]
        assert "Traceback" not in full.stderr
        paid = standin.answered.total()
        assert 0 < paid < 60
        assert process(folder, "--endpoint", url).returncode == 0
    # One answer may have come that could not be stored for each request under way.
    assert len(standin.answered) == 60 and standin.answered.total() - 60 <= 8
