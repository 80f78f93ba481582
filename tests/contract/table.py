"""Every verb with every kind of input that it takes, gone wrong.

A command is written as it is typed. `UGLY` stands for what is wrong; the others are the good
things beside it: `PICTURES` and `MORE`, folders of pictures with captions, `MODEL`, a whole tiny
model, and files of `test_errors.good_files`. What a command may write is called `out`.
"""

from dataclasses import dataclass

from tests.contract.kinds import KINDS
from tests.contract.values import ENDPOINT, SMALL, VALUES

__all__ = ["CASES", "Case", "verb_of"]


@dataclass(frozen=True)
class Case:
    """A command, what of it is wrong, and what its refusal must name."""

    command: str
    slot: str | None = None
    """Of `KINDS`; None: a value of the command itself is wrong."""
    kind: str = ""
    names: str = "ugly"

    @property
    def name(self) -> str:
        """For pytest."""
        what = f"{self.slot}-{self.kind}" if self.slot else self.kind
        words = [word for word in self.command.split() if not word.startswith(("--", "out"))][:3]
        return f"{'-'.join(words)}-{what}".replace("/", "_")


COMMANDS: dict[str, tuple[str, ...]] = {
    "place": (
        "evaluate UGLY",
        "evaluate PICTURES --reference UGLY",
        "compare UGLY PICTURES --out out",
        f"judge UGLY MORE --out out {ENDPOINT}",
        "cache UGLY --model MODEL --resolution 64 --out out",
        "train run.yaml data=UGLY",
        "ablate study.yaml recipe.data=UGLY",
        "vae train vae.yaml data=UGLY",
        "vae eval UGLY --vae MODEL --size 64 --out out",
        "benchmark --images UGLY --prompts prompts.txt --out out",
        "benchmark --images PICTURES --prompts UGLY --out out",
        "benchmark --images PICTURES --prompts prompts.txt --reference UGLY --out out",
        "dataset build build.yaml 'sources=[{path: UGLY}]'",
        f"dataset caption UGLY {ENDPOINT}",
        "dataset stats UGLY --out out",
        "dataset verify UGLY",
        "dataset inspect UGLY --port 0",
        "figure gallery UGLY --out out.png",
        "figure variations UGLY --out out.png",
        "figure text UGLY --out out.png",
        "figure reconstructions UGLY --vae MODEL --size 64 --out out.png",
        "figure side-by-side UGLY PICTURES --out out.png",
        "figure ablation UGLY PICTURES --out out.png",
        "study check people.yaml 'task.models={a: UGLY, b: MORE}'",
        "study serve people.yaml 'task.models={a: UGLY, b: MORE}' --port 0",
    ),
    "damaged": (
        "evaluate UGLY",
        "evaluate PICTURES --reference UGLY",
        "compare UGLY PICTURES --out out",
        "cache UGLY --model MODEL --resolution 64 --out out",
        "train run.yaml data=UGLY",
        "vae train vae.yaml data=UGLY",
        "vae eval UGLY --vae MODEL --size 64 --out out",
        "dataset verify UGLY",
        "figure gallery UGLY --out out.png",
    ),
    "rows": (
        "cache UGLY --model MODEL --resolution 64 --out out",
        "train run.yaml data=UGLY",
        "ablate study.yaml recipe.data=UGLY",
        "vae train vae.yaml data=UGLY",
        "benchmark --images PICTURES --prompts UGLY --out out",
        "dataset verify UGLY",
    ),
    "recipe": (
        "train UGLY",
        "ablate UGLY",
        "vae train UGLY",
        "plan UGLY",
        "benchmark UGLY",
        "dataset build UGLY",
        "study check UGLY",
        "study links UGLY",
        "study serve UGLY",
        "study export UGLY out.jsonl",
        "study backup UGLY out.sqlite",
        "evaluate PICTURES --networks UGLY",
    ),
    "sampled": (
        f"generate lake --model UGLY {SMALL} --out out.png",
        "train run.yaml model=UGLY",
        "demo --model UGLY --side 384 --training-steps 2 --out out",
    ),
    "defaults": (
        "generate lake --model UGLY --out out",
        "plan --model UGLY",
    ),
    "model": (
        "cache PICTURES --model UGLY --resolution 64 --out out",
        "merge-lora lora --model UGLY --out out",
        "export UGLY out.safetensors",
        f"benchmark --model UGLY --prompts prompts.txt {SMALL} --out out",
        "ablate study.yaml recipe.model=UGLY",
    ),
    "planned": ("plan --model UGLY --width 64 --height 64",),
    "vae": (
        "vae train vae.yaml model=UGLY",
        "vae eval PICTURES --vae UGLY --size 64 --out out",
        "figure reconstructions PICTURES --vae UGLY --size 64 --out out.png",
    ),
    "lora": (
        f"generate lake --model MODEL --lora UGLY {SMALL} --out out.png",
        "merge-lora UGLY --model MODEL --out out",
        "lora inspect UGLY",
        "lora convert UGLY out.safetensors --layout kohya --family sd3",
    ),
    "prompts": (
        f"generate --prompts UGLY.txt --model MODEL {SMALL} --out out",
        f"generate --prompts UGLY.jsonl --model MODEL {SMALL} --out out",
        "benchmark --images PICTURES --prompts UGLY.txt --out out",
        "study check people.yaml task.prompts=UGLY.txt",
    ),
    "lines": (
        f"generate --prompts UGLY.jsonl --model MODEL {SMALL} --out out",
        "benchmark --images PICTURES --prompts UGLY.jsonl --out out",
    ),
    "table": ("evaluate PICTURES --against UGLY.csv",),
    "answers": (
        "study report UGLY.jsonl --out out",
        "study report UGLY.csv --out out",
        "compare PICTURES MORE --results PICTURES=UGLY.json --out out",
    ),
    "database": (
        "study export people.yaml out.jsonl folder=UGLY",
        "study backup people.yaml out.sqlite folder=UGLY",
        "study report ugly-people.yaml --out out",
        "study links people.yaml folder=UGLY --revoke p-0001",
    ),
    "tar": ("dataset verify UGLY",),
}


def verb_of(command: str) -> str:
    """`dataset verify` of `dataset verify UGLY`."""
    words = command.split()
    return " ".join(words[: 2 if words[0] in ("dataset", "study", "figure", "vae") else 1])


def _cases() -> list[Case]:
    cases = []
    for slot, commands in COMMANDS.items():
        cases += [Case(command, slot, kind) for command in commands for kind in KINDS[slot]]
    return cases + [Case(command, None, kind, names) for command, kind, names in VALUES]


CASES = _cases()
