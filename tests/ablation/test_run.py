"""A whole tiny study, and what becomes of it when it is stopped, changed, shared or broken."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from diffusion4k.ablation import run as running
from diffusion4k.ablation.arms import Run, runs_of
from diffusion4k.ablation.recipe import AblationRecipe
from diffusion4k.ablation.results import AblationResults
from diffusion4k.ablation.run import run_study, snapshot_folder
from diffusion4k.ablation.setup import prepare
from diffusion4k.cli.ablate import lines_of
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.metrics import glcm_score
from diffusion4k.metrics.spectrum import grey_of, ring_powers
from diffusion4k.support.lock import try_lock
from diffusion4k.training.recipe.recipe import Recipe
from diffusion4k.training.watch.curve import Curve
from tests.ablation.conftest import ARMS, tiny_study

Make = Callable[..., AblationRecipe]


@pytest.fixture(scope="module")
def wanted(
    tiny_model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> AblationRecipe:
    """Two arms that must be equal, two seeds, measured twice."""
    output = tmp_path_factory.mktemp("finished") / "study"
    batches = {"batch_size": 1, "global_batch_size": 2}
    equal = [["plain", "velocity"]]
    return tiny_study(tiny_model, pictures, output, equal=equal, steps=[2, 3], recipe=batches)


@pytest.fixture(scope="module")
def finished(wanted: AblationRecipe) -> tuple[Path, AblationResults]:
    """A copy of the output of that study, finished, and its results; do not write into it."""
    results = run_study(wanted)
    assert results
    kept = wanted.output.with_name("kept")
    shutil.copytree(wanted.output, kept)
    return kept, results


@pytest.fixture
def copied(finished: tuple[Path, AblationResults], wanted: AblationRecipe) -> AblationRecipe:
    """The study, finished; a test may do anything to its output."""
    shutil.rmtree(wanted.output)
    shutil.copytree(finished[0], wanted.output)
    return wanted


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Runs that are trained from here on, and their last step; nothing is drawn."""
    monkeypatch.setattr(running, "estimate", lambda *_: "")
    monkeypatch.setattr(running, "write_everything", lambda *_: None)
    seen: list[tuple[str, int]] = []
    whole = running.train

    def note(recipe: Recipe) -> Path:
        seen.append((str(recipe.output.relative_to(recipe.output.parents[2])), recipe.steps))
        return whole(recipe)

    monkeypatch.setattr(running, "train", note)
    return seen


def test_equal_objectives_come_out_equal(finished: tuple[Path, AblationResults]) -> None:
    output, results = finished
    [identity] = results.identities
    assert identity.holds and identity.loss < 1e-5 and identity.velocity_error < 1e-5
    plain, velocity = (_losses(output, arm, 1) for arm in ("plain", "velocity"))
    assert len(plain) == 3 and np.allclose(plain, velocity, rtol=1e-5)
    assert not np.allclose(plain, _losses(output, "plain", 0), rtol=1e-3)


def _losses(output: Path, arm: str, seed: int) -> list[float]:
    path = output / "runs" / arm / f"seed-{seed}" / "training" / "loss.csv"
    return [float(row["loss"]) for row in Curve.read(path)]


def test_values_are_those_of_all_images_of_an_arm(finished: tuple[Path, AblationResults]) -> None:
    output, results = finished
    images = sorted(output.glob("runs/plain/seed-*/look-000003/images/*.png"))
    entry = results.entry("plain", "glcm_score")
    assert entry and len(images) == 2
    assert entry.value.value == pytest.approx(np.mean([glcm_score(path) for path in images]))
    decoded = sorted(output.glob("reference/256/decoded/*.png"))
    spectra = [
        np.mean([ring_powers(grey_of(path, 128)) for path in paths], axis=0)
        for paths in (images, decoded)
    ]
    found = results.entry("plain", "spectrum_distance_decoded")
    distance = np.sqrt(np.mean(np.square(spectra[0] - spectra[1])))
    assert len(decoded) == 4 and found and found.value.value == pytest.approx(distance, rel=1e-4)
    assert results.facts["batch"] == 2
    other = results.entry("velocity", "spectrum_distance", 2)
    assert other and other.difference.value == pytest.approx(0, abs=1e-3)


def test_two_seeds_tell_nothing_and_the_report_says_so(
    finished: tuple[Path, AblationResults],
) -> None:
    output, results = finished
    assert any(note.startswith("2 seeds: too few for an interval") for note in results.notes)
    assert set(results.sorted_out("velocity")) == {"cannot tell"}
    page = (output / "report.html").read_text()
    assert "2 seeds: too few" in page and page.count("data:image/png") == 6
    assert "://" not in page
    assert "minus that of plain" in page
    lines = lines_of(results, 72)
    assert lines[0] == "velocity beside plain:" and lines[1].startswith("  ")
    assert lines[-1].startswith("plain = velocity: equal (largest")
    assert all(len(line) <= 72 for line in lines) and "velocity error" in " ".join(lines)
    errors = [results.entry(arm, "velocity_error") for arm in ("plain", "velocity")]
    assert all(each and each.value.value and each.value.low is None for each in errors)
    saved = json.loads((output / "results.json").read_text())
    assert saved["identities"][0]["holds"] is True
    assert {path.stem for path in (output / "figures").iterdir()} == {
        *("differences", "levels", "spectra", "steps", "samples", "bars")
    }


def test_finished_runs_are_not_repeated(
    copied: AblationRecipe, finished: tuple[Path, AblationResults], trained: list[tuple[str, int]]
) -> None:
    shutil.rmtree(snapshot_folder(runs_of(copied)[1], 3))
    results = run_study(copied)
    assert trained == [("velocity/seed-0/training", 3)]
    assert results and results.entries == finished[1].entries
    assert results.identities == finished[1].identities


def test_a_snapshot_that_is_gone_and_cannot_be_made_again_is_told(copied: AblationRecipe) -> None:
    shutil.rmtree(snapshot_folder(runs_of(copied)[1], 2))
    with pytest.raises(UsageError, match="trained to step 3, and its snapshot at step 2 is"):
        run_study(copied)


def test_runs_under_other_conditions_are_refused_by_name(
    copied: AblationRecipe, pictures: Path, tmp_path: Path, trained: list[tuple[str, int]]
) -> None:
    assert isinstance(copied.recipe, dict)
    larger = copied.model_copy(update={"recipe": copied.recipe | {"batch_size": 2}})
    with pytest.raises(UsageError, match=r"seed-0: was trained with another batch_size \(1 -> 2\)"):
        run_study(larger)
    arms = copied.arms | {"velocity": ARMS["latents"]}
    with pytest.raises(UsageError, match=r"velocity/seed-0: was trained with another objective"):
        run_study(copied.model_copy(update={"arms": arms}))
    others = shutil.copytree(pictures, tmp_path / "others")
    shutil.copyfile(others / "0.png", others / "1.png")
    changed = copied.model_copy(update={"recipe": copied.recipe | {"data": str(others)}})
    with pytest.raises(UsageError, match=r"was trained with another cache content \(\w+ -> \w+\)"):
        run_study(changed)
    assert not trained


def test_a_cache_that_another_study_changed_is_refused(
    copied: AblationRecipe, pictures: Path, tmp_path: Path
) -> None:
    assert isinstance(copied.recipe, dict)
    setup = prepare(copied)
    setup.require_cache()
    others = shutil.copytree(pictures, tmp_path / "others")
    shutil.copyfile(others / "0.png", others / "1.png")
    prepare(copied.model_copy(update={"recipe": copied.recipe | {"data": str(others)}}))
    with pytest.raises(UsageError, match="has different pictures than when this study began"):
        setup.require_cache()


def test_fewer_steps_than_before_are_compared(
    copied: AblationRecipe, trained: list[tuple[str, int]]
) -> None:
    results = run_study(copied.model_copy(update={"steps": (2,)}))
    assert not trained and results and results.identities[0].holds


def test_other_prompts_ask_anew_without_training(
    copied: AblationRecipe, trained: list[tuple[str, int]]
) -> None:
    smaller = copied.model_copy(update={"limit": 2, "steps": (3,), "seeds": (0,)})
    before = _losses(copied.output, "plain", 0)
    results = run_study(smaller)
    assert results and results.facts["images"] == 2 and len(trained) == 2
    assert _losses(copied.output, "plain", 0) == before


class _Stand:
    """In place of training and looking: notes what is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: list[str] = []
        self.snapshots: set[Path] = set()
        self.bad = ""
        monkeypatch.setattr(running, "train", self.train)
        monkeypatch.setattr(
            running, "has_snapshot", lambda setup, folder, arm: folder in self.snapshots
        )
        monkeypatch.setattr(running, "take_snapshot", self.snapshot)
        monkeypatch.setattr(running, "prepare", lambda study, **_: _Ground(study))
        monkeypatch.setattr(running, "estimate", lambda *_: "")
        monkeypatch.setattr(running, "notes_of", lambda *_: [])
        monkeypatch.setattr(running, "results_of", lambda *_: "results")
        monkeypatch.setattr(running, "write_everything", lambda *_: None)

    def train(self, recipe: Recipe) -> None:
        name = "/".join(recipe.output.parts[-3:-1])
        if name == self.bad:
            raise Diffusion4kError("step 1: loss nan")
        self.runs.append(name)

    def snapshot(self, setup: object, recipe: Recipe, folder: Path, **_: object) -> None:
        self.snapshots.add(folder)


class _Ground:
    checksum = "abc"
    model = "def"

    def __init__(self, study: AblationRecipe) -> None:
        self.study = study

    def require_cache(self) -> None:
        pass


def test_a_run_that_fails_does_not_stop_the_others(
    study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = _Stand(monkeypatch)
    stand.bad = "latents/seed-0"
    arms = {name: ARMS[name] for name in ("plain", "latents")}
    with pytest.raises(Diffusion4kError, match=r"1 of 4 runs failed.*latents, seed 0: step 1"):
        run_study(study(arms=arms))
    assert stand.runs == ["plain/seed-0", "plain/seed-1", "latents/seed-1"]


def test_processes_share_the_runs(study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = _Stand(monkeypatch)
    wanted = study()
    other: Run = runs_of(wanted)[0]
    with try_lock(other.folder) as ours:
        assert ours and run_study(wanted) is None
    assert "plain/seed-0" not in stand.runs and len(stand.runs) == 3
    assert run_study(wanted) == "results" and len(stand.runs) == 4


def test_the_model_and_with_a_cosine_the_steps_are_conditions(
    study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Stand(monkeypatch)
    cosine = {"schedule": {"name": "cosine"}}
    assert run_study(study(recipe=cosine)) == "results"
    with pytest.raises(UsageError, match=r"was trained with another steps \(3 -> 4\)"):
        run_study(study(recipe=cosine, steps=4))
    monkeypatch.setattr(_Ground, "model", "other")
    with pytest.raises(UsageError, match=r"was trained with another model content \(def -> other"):
        run_study(study(recipe=cosine))


def test_the_report_waits_for_the_snapshot_before_training(
    study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand, wanted = _Stand(monkeypatch), study()
    start = running.start_folder(wanted)
    holder = try_lock(start)
    assert holder.__enter__()

    @contextmanager
    def wait_for(folder: Path, busy: str) -> Iterator[None]:
        assert folder == start and start not in stand.snapshots and len(stand.runs) == 4
        holder.__exit__(None, None, None)
        yield

    monkeypatch.setattr(running, "wait_for", wait_for)
    monkeypatch.setattr(running, "results_of", lambda *_: start in stand.snapshots)
    assert run_study(wanted) is True


def test_runs_that_others_trained_under_other_conditions_are_not_reported(
    study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand, wanted = _Stand(monkeypatch), study()
    first, second = runs_of(wanted)[:2]

    def other(recipe: Recipe) -> None:
        stand.train(recipe)
        if recipe.output == first.recipe.output:  # meanwhile another process does the second
            (second.folder).mkdir(parents=True, exist_ok=True)
            (second.folder / "conditions.json").write_text('{"batch_size": 7}')
            stand.snapshots.add(snapshot_folder(second, 3))

    monkeypatch.setattr(running, "train", other)
    with pytest.raises(UsageError, match=r"velocity/seed-0: was trained with another .*batch_size"):
        run_study(wanted)
    assert len(stand.runs) == 3


def test_many_processes_of_one_launcher_are_refused(
    study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="distributes its own runs"):
        run_study(study())


def test_what_would_fail_late_is_told_first(study: Make) -> None:
    wrong = {"objective": {"name": "wavelet-flow", "wavelet": "none"}}
    with pytest.raises(UsageError, match=r"arms.wrong: objective: .*none"):
        run_study(study(arms={"plain": ARMS["plain"], "wrong": wrong}))
