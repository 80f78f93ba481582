"""What a dataset holds and what is wrong with it, as text and as JSON.

The statistics are those by which Diffusion-4K describes Aesthetic-4K (supplement, Table 9).
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from diffusion4k.curation.verify.kinds import KINDS
from diffusion4k.curation.verify.pictures import VerifiedPhoto
from diffusion4k.data.problems import Problem
from diffusion4k.support.files import write_text
from diffusion4k.support.wording import counted

__all__ = ["Report"]

_SHORT_SIDES = (1024, 2048, 4096)


@dataclass(frozen=True)
class Report:
    """What a check of a whole dataset found."""

    folder: Path
    pictures: list[VerifiedPhoto]
    """Pictures found with a caption, good or bad."""
    others: list[Problem]
    """What is wrong with lines and files that are no such picture."""

    @property
    def good(self) -> list[VerifiedPhoto]:
        """Pictures without any problem."""
        return [picture for picture in self.pictures if not picture.problems]

    @property
    def problems(self) -> list[Problem]:
        """All that is wrong."""
        return self.others + [p for picture in self.pictures for p in picture.problems]

    @property
    def counts(self) -> dict[str, int]:
        """Number of problems by kind, in the order of `KINDS`."""
        counted = Counter(problem.kind for problem in self.problems)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}

    def lines(self) -> list[str]:
        """The report as text, problems last."""
        good, problems = self.good, self.problems
        lines = [
            f"{self.folder}: {counted(len(good), 'photograph')}, "
            f"{counted(len(problems), 'problem')}"
        ]
        if good:
            lines.append(f"{'':12}{'median':>8}{'mean':>8}{'least':>8}{'most':>8}")
            for name, values in self._sizes().items():
                figures = (median(values), mean(values), min(values), max(values))
                digits = int(name == "megapixels")
                lines.append(f"{name:12}" + "".join(f"{value:8.{digits}f}" for value in figures))
            lines.append(f"on disk: {sum(picture.bytes for picture in good) / 1e9:.2f} GB")
            shorter = [min(picture.photo.width, picture.photo.height) for picture in good]
            counts = (f">= {s}: {sum(side >= s for side in shorter)}" for s in _SHORT_SIDES)
            lines.append(f"shorter side {', '.join(counts)}")
        lines += [f"{kind}: {n} ({KINDS[kind].meaning})" for kind, n in self.counts.items()]
        return lines + [f"bad: {_printable(str(problem))}" for problem in problems]

    def write_json(self, path: Path) -> None:
        """Write counts, sizes and every problem with its kind."""
        content = {
            "folder": str(self.folder),
            "photographs": len(self.good),
            "counts": self.counts,
            "sizes": {
                name: {"median": median(values), "mean": mean(values)}
                for name, values in self._sizes().items()
            },
            "problems": [
                {"kind": problem.kind, "where": problem.where, "reason": problem.reason}
                for problem in self.problems
            ],
        }
        write_text(path, json.dumps(content, indent=1) + "\n")

    def _sizes(self) -> dict[str, list[float]]:
        photos = [picture.photo for picture in self.good]
        if not photos:
            return {}
        return {
            "height": [photo.height for photo in photos],
            "width": [photo.width for photo in photos],
            "megapixels": [photo.width * photo.height / 1e6 for photo in photos],
            "words": [len(photo.text.split()) for photo in photos],
        }


def _printable(text: str) -> str:
    """The text on one line, without what steers a terminal; file names may hold anything."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
