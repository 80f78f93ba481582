"""The judge against a stand-in with a known preference, a known bias, and bad manners."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.preference.analysis.run import analyse
from diffusion4k.preference.answers import read_answers
from diffusion4k.preference.judge.ledger import JudgeLedger
from diffusion4k.preference.judge.prompt import JudgeSettings
from diffusion4k.preference.judge.run import JudgingStopped, estimate_judging, judge
from tests.endpoint.server import StandIn, serving
from tests.preference.judge.conftest import make_models
from tests.preference.judge.server import MALFORMED, Judge

Make = Callable[..., JudgeSettings]
PREFERENCE = {"visual_aesthetics": 0.65, "prompt_adherence": 0.5, "fine_details": 0.8}
FAULTS = ("429", "500", "503", "late", "cut", "reset", "html")


@pytest.mark.parametrize(
    ("number", "even"), [(150, True), pytest.param(4000, False, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("bias", [20.0, -20.0])
def test_the_preference_comes_out_and_the_bias_is_taken_out(
    number: int, even: bool, bias: float, settings: Make, tmp_path: Path
) -> None:
    models = make_models(tmp_path, number)
    standin = Judge(preference=PREFERENCE, bias=bias, even=even, seed=1)
    with serving(standin) as url:
        wanted = settings(url, concurrency=16)
        report = judge(models, wanted, tmp_path / "out", progress=False)
    assert report.complete and standin.answered.total() == 2 * number
    assert len(report.summary["results"]) == 3
    for row in report.summary["results"]:
        assert (row["model_a"], row["model_b"], row["pairs"]) == ("blue", "red", number)
        truth = 100 * (1 - PREFERENCE[row["question"]])
        found, measured = row["preference_a"], row["position_bias_points"]
        print(row["question"], truth, found, measured)
        assert abs(100 * found["value"] - truth) < 2
        assert found["low"] < found["value"] < found["high"]
        assert abs(measured["value"] - bias) < 4
        assert measured["low"] < bias < measured["high"]
        # One order alone would be wrong by half of the bias.
        answers = [a for a in report.outcome.answers if a.question == row["question"]]
        first = [a.choice == "model_a" for a in answers if a.first == "blue"]
        assert abs(100 * sum(first) / len(first) - truth - bias / 2) < 2.5
        counts = [row[name] for name in ("consistent_a", "consistent_b", "inconsistent")]
        assert sum(counts) == number


def test_answers_and_summary_are_written(settings: Make, tmp_path: Path) -> None:
    models = make_models(tmp_path, 3)
    with serving(Judge(preference=dict.fromkeys(PREFERENCE, 1.0), bias=0)) as url:
        report = judge(models, settings(url), tmp_path / "out", progress=False)
    answers = read_answers(tmp_path / "out" / "answers.jsonl")
    assert answers == read_answers(tmp_path / "out" / "answers.parquet") == report.outcome.answers
    assert len(answers) == 3 * 2 * 3
    assert Counter((a.prompt_id, a.first) for a in answers) == {
        (str(i), model): 3 for i in (1, 2, 3) for model in ("red", "blue")
    }
    for answer in answers:
        assert (answer.study, answer.participant, answer.preferred) == ("judge", "gpt-4o", "red")
        assert answer.prompt == f"a lake, number {int(answer.prompt_id) - 1}"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["judge"] == "gpt-4o" and summary["requests"] == 6
    # Three pairs are too few for an interval, which is null rather than made up.
    assert summary["results"][0]["preference_a"] == {"value": 0.0, "low": None, "high": None}
    assert summary["results"][0]["consistent_b"] == 3


def test_the_report_says_what_the_summary_says(settings: Make, tmp_path: Path) -> None:
    models = make_models(tmp_path, 40)
    standin = Judge(preference=PREFERENCE, flags=("tie",), most_flags=4, even=False)
    with serving(standin) as url:
        judged = judge(models, settings(url), tmp_path / "out", progress=False)
    assert judged.outcome.unparsable.total() > 3
    results = analyse([tmp_path / "out" / "answers.jsonl"], ours="blue")
    rows = {row["question"]: row for row in results["groups"]["gpt-4o"]["win_rates"]}
    for row in judged.summary["results"]:
        assert rows[row["question"]]["share"] == row["preference_a"]
        assert rows[row["question"]]["scores"] == row["pairs"] < 40
        assert rows[row["question"]]["ties"] == row["inconsistent"]


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_answers_are_asked_again(kind: str, settings: Make, tmp_path: Path) -> None:
    models = make_models(tmp_path, 4)
    standin = Judge(flags=(kind,), most_flags=2, seed=3)
    with serving(standin) as url:
        report = judge(models, settings(url), tmp_path / "out", progress=False)
    assert standin.flagged.total() > 2
    assert report.complete and len(report.outcome.answers) == 24


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_to_the_end_are_counted(kind: str, settings: Make, tmp_path: Path) -> None:
    models = make_models(tmp_path, 4)
    standin = Judge(flags=(kind,), most_flags=6, seed=5)
    with serving(standin) as url:
        report = judge(models, settings(url), tmp_path / "out", progress=False)
        bad = report.outcome.unparsable.total()
        assert 0 < bad < 8 and not report.complete
        assert len(report.outcome.answers) == 3 * (8 - bad)
        assert max(standin.flagged.values()) == 3  # as often as `tries`, no more
        rows = report.summary["results"]
        assert all(row["pairs"] + row["pairs_with_one_order"] <= 4 for row in rows)
        asked = standin.requests
        again = judge(models, settings(url), tmp_path / "out", progress=False)
        assert again.outcome == report.outcome and standin.requests == asked
        more = judge(models, settings(url, tries=7), tmp_path / "out", progress=False)
        assert more.complete and len(more.outcome.answers) == 24


@pytest.mark.parametrize("honours_keys", [False, True])
def test_none_lost_and_none_paid_twice(honours_keys: bool, settings: Make, tmp_path: Path) -> None:
    models = make_models(tmp_path, 30)
    standin = Judge(FAULTS, 3, tuple(MALFORMED), 2, honours_keys=honours_keys, lateness=7, seed=8)
    with serving(standin) as url:
        wanted = settings(url, concurrency=16, timeout=3.0)
        report = judge(models, wanted, tmp_path / "out", progress=False)
        assert report.complete and len(report.outcome.answers) == 180
        assert set(standin.answered.values()) == {1} and len(standin.answered) == 60
        asked = standin.requests
        again = judge(models, wanted, tmp_path / "out", progress=False)
        assert again.outcome == report.outcome and standin.requests == asked
    lost = report.summary["lost"]
    assert report.summary["spent"] - lost["dollars"] == pytest.approx(standin.billed)


def test_patches_decide_about_fine_details(settings: Make, tmp_path: Path) -> None:
    models = make_models(tmp_path, 6, side=256)
    standin = Judge(preference={"fine_details": 1.0, "visual_aesthetics": 0.0}, bias=0)
    with serving(standin) as url:
        wanted = settings(url, patches=3, patch_side=64)
        report = judge(models, wanted, tmp_path / "out", progress=False)
        assert standin.requests == 6 * 2 * (1 + 3)
        preferred = {(a.question, a.preferred) for a in report.outcome.answers}
        assert {("fine_details", "red"), ("visual_aesthetics", "blue")} < preferred
        assert len(report.outcome.answers) == 6 * 2 * 3
        # More patches cost only the new ones, and no more than there is room for.
        judge(models, settings(url, patches=5, patch_side=64), tmp_path / "out", progress=False)
        assert standin.requests == 48 + 6 * 2 * 2
        judge(models, settings(url, patches=64, patch_side=128), tmp_path / "out", progress=False)
        assert standin.requests == 72 + 6 * 2 * 4
        # Without patches only what was asked about whole images is needed: nothing new.
        judge(models, settings(url), tmp_path / "out", progress=False)
        assert standin.requests == 120


def test_three_models_and_other_settings(settings: Make, tmp_path: Path) -> None:
    red, blue = make_models(tmp_path, 2)
    other = tmp_path / "other"
    other.mkdir()
    for path in Path(blue).iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "00001.png").unlink()
    with Image.open(other / "00000.png") as image:
        image.rotate(180).point(lambda v: v // 2).save(other / "00000.png")
    standin = Judge()
    with serving(standin) as url:
        report = judge([red, f"half={blue}"], settings(url), tmp_path / "out", progress=False)
        assert standin.requests == 4
        assert {(a.model_a, a.model_b) for a in report.outcome.answers} == {("half", "red")}
        # The same files under another name cost nothing; another size of what is sent does.
        judge([red, blue], settings(url), tmp_path / "out", progress=False)
        assert standin.requests == 4
        judge([red, blue], settings(url, image={"longest": 64}), tmp_path / "out", progress=False)
        assert standin.requests == 8
        report = judge([red, str(other)], settings(url), tmp_path / "out", progress=False)
    [problem] = report.problems
    assert "no partner for" in problem.reason and "00001.png" in problem.reason


def test_the_budget_is_kept_and_a_higher_one_goes_on(settings: Make, tmp_path: Path) -> None:
    models = make_models(tmp_path, 10)
    standin = Judge(tokens=2500)
    with serving(standin) as url:
        low = settings(url, budget=0.06, concurrency=8)
        with pytest.raises(JudgingStopped, match="a higher budget continues") as stopped:
            judge(models, low, tmp_path / "out", progress=False)
        spent = stopped.value.report.summary["spent"]
        assert standin.billed - 1e-9 <= spent <= 0.06
        kept = len(read_answers(tmp_path / "out" / "answers.jsonl"))
        assert kept == 3 * standin.answered.total() > 0
        judge(models, settings(url, budget=5.0), tmp_path / "out", progress=False)
    assert set(standin.answered.values()) == {1} and len(standin.answered) == 20


def test_what_cannot_be_judged_is_named_and_the_others_go_on(
    settings: Make, tmp_path: Path
) -> None:
    models = make_models(tmp_path, 4)
    red, blue = map(Path, models)
    whole = (red / "00000.png").read_bytes()
    (red / "00000.png").write_bytes(whole[:-30])
    (red / "00001.png").write_bytes(b"")
    (red / "00002.png").write_bytes((blue / "00002.png").read_bytes())
    with serving(Judge()) as url:
        report = judge(models, settings(url), tmp_path / "out", progress=False)
    assert {a.prompt_id for a in report.outcome.answers} == {"4"}
    reasons = " ".join(map(str, report.problems))
    assert "damaged" in reasons and "0 bytes" in reasons and "the same image" in reasons
    assert not report.complete


@pytest.mark.parametrize(
    ("standin", "changes", "message"),
    [
        (StandIn(), {"model": "gpt-5o"}, "there is no model 'gpt-5o'"),
        (StandIn(refuse_all=402), {}, "no money left"),
        (StandIn(refuse_all=400, message="bad image"), {}, "10 pairs in a row"),
    ],
)
def test_what_stops_it(
    standin: StandIn, changes: dict[str, object], message: str, settings: Make, tmp_path: Path
) -> None:
    models = make_models(tmp_path, 6)
    with serving(standin) as url, pytest.raises(JudgingStopped, match=message):
        judge(models, settings(url, **changes), tmp_path / "out", progress=False)


def test_wrong_folders(settings: Make, tmp_path: Path) -> None:
    red, blue = make_models(tmp_path, 2)
    wanted = settings("http://127.0.0.1:9")
    with pytest.raises(UsageError, match="no such folder"):
        judge([red, str(tmp_path / "none")], wanted, tmp_path / "out")
    with pytest.raises(UsageError, match="1 image folder given"):
        judge([red], wanted, tmp_path / "out")
    for folder in (red, blue):
        (Path(folder) / "metadata.jsonl").unlink()
    with pytest.raises(Diffusion4kError, match="of its images is not known"):
        judge([red, blue], wanted, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_estimate_sends_and_writes_nothing(settings: Make, tmp_path: Path) -> None:
    models = make_models(tmp_path, 5, side=128)
    wanted = settings("http://127.0.0.1:9", patches=2, patch_side=64)
    line = estimate_judging(models, wanted, tmp_path / "out")
    assert line.startswith("30 requests for 5 pairs in both orders: about ") and "$" in line
    assert not (tmp_path / "out").exists()
    with serving(Judge()) as url:
        judge(models, settings(url), tmp_path / "out", progress=False)
    # What is paid is known, even while another run holds the ledger.
    with JudgeLedger(tmp_path / "out" / "judge.sqlite"):
        line = estimate_judging(models, settings("http://127.0.0.1:9"), tmp_path / "out")
        assert line.startswith("0 requests for 0 pairs")
        with pytest.raises(Diffusion4kError, match="another run is judging with it"):
            judge(models, settings("http://127.0.0.1:9"), tmp_path / "out", progress=False)


def test_images_belong_together_by_their_prompts(settings: Make, tmp_path: Path) -> None:
    red, blue = map(Path, make_models(tmp_path, 4))
    for folder, names in ((red, "wxyz"), (blue, "abcd")):
        rows = []
        for i, name in enumerate(names):
            (folder / f"{i:05}.png").rename(folder / f"{name}.png")
            # Numbers 0 and 1 are two images of one prompt.
            rows.append({"file_name": f"{name}.png", "text": f"a lake, number {max(i, 1)}"})
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with serving(Judge()) as url:
        report = judge([str(red), str(blue)], settings(url), tmp_path / "out", progress=False)
    assert report.complete
    prompts = {(answer.prompt_id, answer.prompt) for answer in report.outcome.answers}
    assert prompts == {
        ("1", "a lake, number 1"),
        ("1-2", "a lake, number 1"),
        ("2", "a lake, number 2"),
        ("3", "a lake, number 3"),
    }


def test_the_ledger_says_what_was_paid_for_what(settings: Make, tmp_path: Path) -> None:
    models = make_models(tmp_path, 1)
    with serving(standin := Judge()) as url:
        judge(models, settings(url), tmp_path / "out", progress=False)
    with sqlite3.connect(tmp_path / "out" / "judge.sqlite") as connection:
        connection.row_factory = sqlite3.Row
        query = "SELECT * FROM judgements JOIN requests ON request = id ORDER BY request"
        rows = connection.execute(query).fetchall()
    assert [row["key"] for row in rows] == standin.keys
    assert rows[0]["first"] == rows[1]["second"] != rows[0]["second"]
    assert {row["state"] for row in rows} == {"paid"}
