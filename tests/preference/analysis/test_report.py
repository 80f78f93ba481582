"""`diffusion4k study report` as a user runs it: numbers, page, LaTeX, figure, and what is wrong."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from diffusion4k.cli.study import report
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.preference.answers import write_answers
from tests.preference.analysis.simulate import answer, judge, people

app = typer.Typer()
app.callback()(lambda: None)
app.command("report")(report)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    rows = people({"sana": -0.2, "wlf": 0.4}, number=6, prompts=12)
    rows.append(answer("fine_details", 1, "p5", "wlf", "wlf (degraded)", "wlf", "model_b"))
    rows[-1] = rows[-1].__class__(**(vars(rows[-1]) | {"check": "degraded"}))
    write_answers(tmp_path / "answers.csv", rows)
    write_answers(tmp_path / "judged.jsonl", judge({("sana", "wlf"): 0.3}, prompts=12))
    return [tmp_path / "answers.csv", tmp_path / "judged.jsonl"]


def test_everything_is_written(files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "report"
    result = run(*files, "--out", out)
    assert result.exit_code == 0, result.output
    assert "people: 180 answers by 5 people about 12 prompts" in result.stdout
    assert "gpt-4o: 72 answers about 12 prompts" in result.stdout
    why = "failed 1 of 1 attention check"
    assert f"left out: 1 of 6 participants: p5 ({why})" in result.stdout
    assert {path.name for path in out.iterdir()} == {
        *("results.json", "report.html", "tables.tex", "bars.pdf", "bars.png")
    }
    results = json.loads((out / "results.json").read_text())
    assert results["models"] == ["wlf", "sana"]
    assert results["checks"]["flagged"] == [{"participant": "p5", "why": why, "answers": 36}]
    with Image.open(out / "bars.png") as image:
        assert image.width > 1000
    first = (out / "results.json").read_bytes(), (out / "report.html").read_bytes()
    run(*files, "--out", out)
    assert first == ((out / "results.json").read_bytes(), (out / "report.html").read_bytes())


def test_the_page_needs_nothing_else(files: list[Path], tmp_path: Path) -> None:
    run(*files, "--out", tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert not re.search(r"(?:src|href)=|url\(|@import|https?:", page)
    assert page.count("<table>") == page.count("</table>") >= 4
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    text = Text.of(page)
    for group in results["groups"].values():
        for row in group["win_rates"]:
            assert f"{100 * row['share']['value']:.1f} [" in text
    assert "p5: failed 1 of 1 attention check; 36 answers left out" in text
    assert "nan" not in text.lower() and "None" not in text


def test_a_report_is_written_whoever_is_left(tmp_path: Path) -> None:
    """Of nobody: it says who and why, in red; so it does of one."""
    rows = people({"sharp": 0.5, "soft": 0.0}, number=2, prompts=6)
    for name in ("p0", "p1"):
        wrong = answer("fine_details", 1, name, "soft", "soft (degraded)", "soft", "model_b")
        rows.append(replace(wrong, check="degraded"))
    write_answers(tmp_path / "all.csv", rows)
    write_answers(tmp_path / "one.csv", rows[:-1])

    def report_of(*arguments: object) -> tuple[str, str, dict]:
        result = run(*arguments, "--out", tmp_path / "report")
        assert result.exit_code == 0, result.output
        page = (tmp_path / "report" / "report.html").read_text()
        alarm = re.search(r'<p class="alarm"[^>]*>(.*?)</p>', page)
        assert len(list((tmp_path / "report").iterdir())) == 5
        results = json.loads((tmp_path / "report" / "results.json").read_text())
        assert "failed 1 of 1 attention check" in Text.of(page)
        return result.stderr, alarm[1] if alarm else "", results

    said, alarm, results = report_of(tmp_path / "all.csv")
    assert said.startswith("warning: nobody is left of 2 participants")
    assert alarm.startswith("Nobody is left of 2 participants") and results["groups"] == {}
    said, alarm, results = report_of(tmp_path / "one.csv")
    assert "only one person is left of 2 participants, p1" in said and "p1" in alarm
    assert results["groups"]["people"]["participants"] == 1
    said, alarm, results = report_of(tmp_path / "all.csv", "--keep-flagged")
    assert (said, alarm) == ("", "")
    assert results["groups"]["people"]["participants"] == 2
    # With a judge beside them it is still said of people.
    write_answers(tmp_path / "judged.jsonl", judge({("sharp", "soft"): 0.3}, prompts=6))
    said, alarm, results = report_of(tmp_path / "all.csv", tmp_path / "judged.jsonl")
    assert alarm.startswith("Nobody is left") and list(results["groups"]) == ["gpt-4o"]


def test_nobody_has_answered(tmp_path: Path) -> None:
    write_answers(tmp_path / "a.csv", [])
    error = run(tmp_path / "a.csv", "--out", tmp_path / "report").exception
    assert isinstance(error, Diffusion4kError) and "a.csv: nobody has answered yet" in str(error)


def test_ours_and_names_with_marks(tmp_path: Path) -> None:
    names = {"<b>a&b_1</b>": 0.1, "50% {x}\\y": 0.0, "c": -0.3}
    write_answers(tmp_path / "a.parquet", people(names, number=5, prompts=6))
    out = tmp_path / "report"
    assert run(tmp_path / "a.parquet", "--ours", "c", "--out", out).exit_code == 0
    assert json.loads((out / "results.json").read_text())["models"][0] == "c"
    page = (out / "report.html").read_text()
    assert "<b>a&" not in page and "&lt;b&gt;a&amp;b_1" in page
    tables = (out / "tables.tex").read_text()
    assert r"<b>a\&b\_1</b>" in tables and r"50\% \{x\}\textbackslash{}y" in tables
    for table in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", tables, re.S):
        rows = [line for line in table[1].splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(table[0]) - 1}
    if shutil.which("pdflatex"):
        document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}"
        (out / "all.tex").write_text(document + tables + "\\end{document}")
        command = ["pdflatex", "-halt-on-error", "all.tex"]
        assert subprocess.run(command, cwd=out, capture_output=True).returncode == 0


def test_too_little_data_is_said(tmp_path: Path) -> None:
    rows = [answer("mine", i, "p", "a", "b", "a", "model_a") for i in range(3)]
    write_answers(tmp_path / "a.csv", rows)
    assert run(tmp_path / "a.csv", "--out", tmp_path / "report").exit_code == 0
    text = Text.of((tmp_path / "report" / "report.html").read_text())
    assert "100.0 [too little data]" in text and "Mine" in text
    assert "there were no attention checks" in text


def test_a_judge_alone(files: list[Path], tmp_path: Path) -> None:
    assert run(files[1], "--out", tmp_path / "report").exit_code == 0
    text = Text.of((tmp_path / "report" / "report.html").read_text())
    assert "Among people" not in text and "in one order and the other in the reverse order" in text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("none.csv",), UsageError, "none.csv: no such file: give what"),
        (
            ("answers.csv", "--ours", "x"),
            UsageError,
            "no answers about a model 'x': found sana, wlf",
        ),
        (("a.txt",), UsageError, "allowed endings .csv"),
    ],
)
def test_what_is_wrong(
    arguments: tuple[str, ...],
    error: type[Exception],
    message: str,
    files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert isinstance(result.exception, error) and message in str(result.exception)
    assert not (tmp_path / "report").exists()


class Text(HTMLParser):
    """The words of a page."""

    @classmethod
    def of(cls, page: str) -> str:
        parser = cls()
        parser.words: list[str] = []  # type: ignore[misc]
        parser.feed(page)
        return " ".join(" ".join(parser.words).split())

    def handle_data(self, data: str) -> None:
        self.words.append(data)
