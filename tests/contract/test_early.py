"""A missing place, a wrong size and a wrong key are refused before what takes seconds to import."""

import subprocess
import sys
from pathlib import Path

from tests.contract.inputs import write_pictures

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
COMMANDS = (
    ("generate lake --width 1000", "1000"),
    ("generate lake --steps 0", "steps 0"),
    ("generate lake --model nowhere", "nowhere"),
    ("generate --prompts nowhere.txt", "nowhere.txt"),
    ("generate lake --lora nowhere", "nowhere"),
    ("generate lake --init nowhere.png", "nowhere.png"),
    ("train nowhere.yaml", "nowhere.yaml"),
    ("train {recipes}/pocket-wlf.yaml data=nowhere", "nowhere"),
    ("train {recipes}/pocket-wlf.yaml model=nowhere", "nowhere"),
    ("train {recipes}/pocket-wlf.yaml resolution=1000", "1000"),
    ("train {recipes}/pocket-wlf.yaml wrong=1", "wrong"),
    ("ablate nowhere.yaml", "nowhere.yaml"),
    ("ablate {recipes}/pocket-ablation-small.yaml wrong=1", "wrong"),
    ("ablate {recipes}/pocket-ablation-small.yaml recipe.data=nowhere", "nowhere"),
    ("merge-lora nowhere --out out", "nowhere"),
    ("cache nowhere --out out", "nowhere"),
    ("cache pocket --out out --resolution 1000", "1000"),
    ("cache pocket --out out --model nowhere", "nowhere"),
    ("evaluate nowhere", "nowhere"),
    ("evaluate pictures --reference nowhere", "nowhere"),
    ("evaluate pictures --networks nowhere.yaml", "nowhere.yaml"),
    ("evaluate pictures --against nowhere.csv", "nowhere.csv"),
    ("benchmark nowhere.yaml", "nowhere.yaml"),
    ("benchmark {recipes}/pocket-benchmark.yaml wrong=1", "wrong"),
    ("benchmark {recipes}/pocket-benchmark.yaml width=1000", "1000"),
    ("benchmark {recipes}/pocket-benchmark.yaml reference=nowhere", "nowhere"),
    ("benchmark --model nowhere", "nowhere"),
    ("compare nowhere pictures", "nowhere"),
    ("judge nowhere pictures", "nowhere"),
    ("plan nowhere.yaml", "nowhere.yaml"),
    ("plan --model nowhere", "nowhere"),
    ("plan --width 1000", "1000"),
    ("plan {recipes}/pocket-wlf.yaml wrong=1", "wrong"),
    ("models nowhere", "nowhere"),
    ("vae train nowhere.yaml", "nowhere.yaml"),
    ("vae train {recipes}/pocket-vae-sc.yaml data=nowhere", "nowhere"),
    ("vae train {recipes}/pocket-vae-sc.yaml wrong=1", "wrong"),
    ("vae eval nowhere", "nowhere"),
    ("vae eval pictures --size 1000", "1000"),
    ("vae eval pictures --vae nowhere", "nowhere"),
    ("dataset build nowhere.yaml", "nowhere.yaml"),
    ("dataset build {recipes}/pocket-dataset.yaml wrong=1", "wrong"),
    ("dataset caption nowhere", "nowhere"),
    ("dataset inspect nowhere", "nowhere"),
    ("dataset stats nowhere", "nowhere"),
    ("dataset verify nowhere", "nowhere"),
    ("study check nowhere.yaml", "nowhere.yaml"),
    ("study check {recipes}/pocket-study.yaml wrong=1", "wrong"),
    ("study links nowhere.yaml", "nowhere.yaml"),
    ("study serve nowhere.yaml", "nowhere.yaml"),
    ("study export nowhere.yaml out.jsonl", "nowhere.yaml"),
    ("study backup nowhere.yaml out.sqlite", "nowhere.yaml"),
    ("study report nowhere.jsonl", "nowhere.jsonl"),
    ("figure side-by-side nowhere pictures", "nowhere"),
    ("figure ablation nowhere pictures", "nowhere"),
    ("figure gallery nowhere", "nowhere"),
    ("figure variations nowhere", "nowhere"),
    ("figure text nowhere", "nowhere"),
    ("figure reconstructions nowhere", "nowhere"),
    ("figure reconstructions pictures --size 1000", "1000"),
    ("demo --side 1000", "1000"),
    ("demo --model nowhere", "nowhere"),
)


def test_what_shows_at_once_is_refused_without_the_libraries(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    typed = [command.format(recipes=RECIPES) for command, _ in COMMANDS]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("early.py"))],
        input="".join(f"{line}\n" for line in typed),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=1200,
        check=True,
    )
    answers = done.stdout.splitlines()
    assert len(answers) == len(COMMANDS), done.stderr
    for (command, named), answer in zip(COMMANDS, answers, strict=True):
        code, heavy, told = answer.split("\t", 2)
        assert (code, heavy) == ("2", ""), (command, answer)
        assert told.startswith("error: ") and named in told, (command, answer)
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
