"""What is drawn: the prompts of a benchmark, and the photographs that belong to them.

A set is `supplement` (the captions of the paper's Fig. 10, 11 and 15, word for word), a file of
prompts (.txt or .jsonl), or an image folder with `metadata.jsonl` in the layout of Aesthetic-Eval,
whose photographs are the reference of the distances as well.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from diffusion4k.data.folder import METADATA, photo_folder, read_folder, where_from
from diffusion4k.errors import UsageError
from diffusion4k.sampling.request import read_prompts
from diffusion4k.support.bundled import POCKET
from diffusion4k.support.text_files import json_of

__all__ = ["SUPPLEMENT", "PromptSet", "read_prompt_set"]

SUPPLEMENT = "supplement"

_AESTHETIC_EVAL = {2781: "Aesthetic-Eval@2048", 195: "Aesthetic-Eval@4096"}


@dataclass(frozen=True)
class PromptSet:
    """Different prompts in order."""

    name: str
    prompts: tuple[str, ...]
    reference: Path | None = None
    """The image folder that the prompts are the captions of."""
    repeated: int = 0
    """Prompts that stood there again, and were left out."""

    @property
    def fingerprint(self) -> str:
        """Changes with any prompt."""
        return hashlib.sha256(json.dumps(self.prompts).encode()).hexdigest()[:16]

    @property
    def published_name(self) -> str | None:
        """The evaluation set that an image folder of so many captions is taken for."""
        found = _AESTHETIC_EVAL.get(len(self.prompts) + self.repeated)
        return found if self.reference else None


def read_prompt_set(name: str, limit: int | None = None, *, skip_bad: bool = False) -> PromptSet:
    """The set of that name, at most its first `limit` prompts.

    Raises:
        UsageError: neither `supplement`, nor a file of prompts, nor an image folder.
        Diffusion4kError: a line or photograph that cannot be read.
    """
    reference = None
    if name == SUPPLEMENT:
        text = files("diffusion4k.benchmark").joinpath("supplement.jsonl").read_text("utf-8")
        prompts = [json_of(line)["text"] for line in text.splitlines()]
    elif (folder := photo_folder(name)).is_dir():
        if not (folder / METADATA).is_file():
            raise UsageError(
                f"{folder}: no {METADATA} in it, which gives each photograph its prompt: add "
                f"one, or name a file of prompts, or {SUPPLEMENT}"
            )
        prompts = [photo.text for photo in read_folder(folder, skip_bad=skip_bad)]
        reference = folder
    else:
        if not Path(name).exists():
            raise UsageError(
                f"prompts {name}: no such file: give {SUPPLEMENT}, {POCKET}, a .txt or .jsonl "
                "file, "
                f"or an image folder with {METADATA}{where_from(name)}"
            )
        prompts = read_prompts(name)
    different = list(dict.fromkeys(prompts))
    repeated = len(prompts) - len(different)
    return PromptSet(name, tuple(different[:limit]), reference, repeated)
