"""`diffusion4k ablate` as a user meets it."""

from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from diffusion4k.ablation import run as running
from diffusion4k.ablation.recipe import AblationRecipe
from diffusion4k.ablation.results import EqualArms
from diffusion4k.cli.ablate import lines_of, register
from diffusion4k.errors import UsageError

STUDY = Path(__file__).parents[2] / "recipes" / "pocket-ablation-small.yaml"


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["ablate", *map(str, arguments)])


class _Results:
    arms, baseline = ("plain", "other"), "plain"
    identities = (EqualArms("plain", "other", 2e-7, 1e-8), EqualArms("a", "b", 0.1, 0))

    def sorted_out(self, arm: str) -> dict[str, list[str]]:
        return {"worse": ["GLCM Score"], "equal": ["FID", "KID"]}


def test_study_and_overrides_reach_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[AblationRecipe, bool]] = []

    def note(study: AblationRecipe, *, skip_bad: bool) -> _Results:
        seen.append((study, skip_bad))
        return _Results()

    monkeypatch.setattr(running, "run_study", note)
    done = run(STUDY, "seeds=[4]", "output=out", "--skip-bad")
    assert done.exit_code == 0, done.output
    [(study, skip_bad)] = seen
    assert study.seeds == (4,) and skip_bad
    assert done.stdout.splitlines() == [
        "other beside plain:",
        "  worse: GLCM Score",
        "  equal: FID; KID",
        "plain = other: equal (largest difference 2.0e-07)",
        "a = b: NOT EQUAL (largest difference 1.0e-01)",
        "out/results.json",
        "out/report.html",
    ]


def test_long_lines_are_wrapped() -> None:
    """Of many columns they had 300 letters."""

    class Many(_Results):
        def sorted_out(self, arm: str) -> dict[str, list[str]]:
            return {"cannot tell": [f"column number {number}" for number in range(40)]}

    lines = lines_of(Many(), 72)  # type: ignore[arg-type]
    assert all(len(line) <= 72 for line in lines)
    assert " ".join(" ".join(lines).split()).count("column number") == 40
    assert lines[2].startswith("    ")


def test_others_at_work_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "run_study", lambda *_, **__: None)
    done = run(STUDY)
    assert done.exit_code == 0 and "other processes have the last runs" in done.stderr


def test_check_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "check_time", lambda study, *, skip_bad: "no problem found")
    assert run(STUDY, "--check").stdout == "no problem found\n"


def test_a_wrong_study_is_told_in_one_line() -> None:
    done = run(STUDY, "seedss=[1]")
    assert isinstance(done.exception, UsageError)
    assert "seedss: unknown key (did you mean seeds?)" in str(done.exception)
    assert "diffusion4k ablate recipes/pocket-ablation-small.yaml" in run("--help").stdout
