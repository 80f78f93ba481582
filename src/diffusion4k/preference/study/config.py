"""A study: one YAML file that says everything about it, checked before anything is shown."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool
from pydantic_core import PydanticCustomError

from diffusion4k.config.read import read_config
from diffusion4k.config.types import Count, NonNegative, Section, Seed, Text, matching
from diffusion4k.preference.attention import TOLERATED
from diffusion4k.preference.study.questions import PAPER, Question

__all__ = [
    "ChecksConfig",
    "InspectionTask",
    "PairwiseTask",
    "ParticipantsConfig",
    "PatchesConfig",
    "RatingTask",
    "StudyConfig",
    "origin_of",
    "read_study",
]

NonNegativeCount = Annotated[int, Field(strict=True, ge=0)]
Model = Annotated[
    str, matching(r"[^\x00-\x1f/\\=]{1,100}", "1 to 100 characters, no slash and no `=`")
]

Database = Annotated[str, matching(r"\w+(\+\w+)?://.+", "an address `postgresql://USER@HOST/NAME`")]


def _origin(address: str) -> str:
    try:
        return origin_of(address)
    except ValueError as error:
        raise PydanticCustomError("address", "{why}", {"why": str(error)}) from None


Address = Annotated[Text, AfterValidator(_origin)]


def _apart(questions: tuple[Question, ...]) -> tuple[Question, ...]:
    names = [question.name for question in questions]
    if twice := {name for name in names if names.count(name) > 1}:
        raise PydanticCustomError(
            "twice",
            "found {names} twice, allowed each name once",
            {"names": ", ".join(sorted(twice))},
        )
    return questions


def _text(value: object) -> object:
    # YAML reads `date: 2026-01-01` and `name: 3` as what they look like.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class ChecksConfig(Section):
    """Attention checks, for each participant."""

    identical: NonNegativeCount = 1
    """Pairs of one picture with itself: to prefer one where ties are allowed fails it."""
    degraded: NonNegativeCount = 2
    """Pairs of a picture with a blurred copy of it: to prefer the copy fails it."""
    fastest: NonNegative = 1.0
    """Seconds; who needs less in the median is left out."""
    tolerated: NonNegativeCount = TOLERATED
    """Failed checks that leave nobody out; who fails all that they have seen is left out too."""


class PairwiseTask(Section):
    """Which of two images is better, of any number of models."""

    kind: Literal["pairwise"]
    models: Annotated[dict[Model, Text], Field(min_length=2)]
    """A folder of images for each."""
    prompts: Text | None = None
    """.txt or .jsonl; by default all prompts that the images carry."""
    missing: Literal["refuse", "skip"] = "refuse"
    """What to do with a prompt of which one model has no image."""
    questions: Annotated[tuple[Question, ...], Field(min_length=1), AfterValidator(_apart)] = PAPER
    tie: StrictBool = False
    """Whether "no difference" can be answered."""
    checks: ChecksConfig = ChecksConfig()


class PatchesConfig(Section):
    """Squares that are cut out of every image, on a grid."""

    size: Annotated[int, Field(strict=True, ge=32, le=4096)] = 512
    """Pixels a side."""
    per_image: Count = 4
    """Cells of the grid that are taken, drawn by the study's seed."""


class RatingTask(Section):
    """How good are the details of a patch, from 1 to 10."""

    kind: Literal["rating"]
    images: Annotated[dict[Model, Text], Field(min_length=1)]
    """A folder of images for each model."""
    patches: PatchesConfig | None = PatchesConfig()
    """null: the images are patches already."""
    question: Text = "How good are the visual details of this patch?"


class InspectionTask(Section):
    """Which candidates belong in a dataset."""

    kind: Literal["inspection"]
    dataset: Text
    """What `dataset build` wrote, or an image folder."""
    everything: StrictBool = False
    """Also candidates that a step has dropped."""


class ParticipantsConfig(Section):
    """Who takes part."""

    open: StrictBool = False
    """Whether anyone who has the address may; otherwise personal links are made for each."""
    each: Count | None = None
    """How much each is shown, attention checks not counted; by default everything."""
    days: Annotated[Count, Field(le=36_500)] = 90
    """How long a personal link is good for."""


class StudyConfig(Section):
    """A study, as its YAML says it."""

    name: Annotated[
        str,
        BeforeValidator(_text),
        matching(
            r"[a-z0-9][a-z0-9_-]{0,62}",
            "1 to 63 small letters, digits, `_` and `-`, beginning with a letter or digit",
        ),
    ]
    title: Text
    folder: Text
    """Where the study keeps what it needs and what was answered."""
    task: Annotated[PairwiseTask | RatingTask | InspectionTask, Field(discriminator="kind")]
    address: Address | None = None
    """How participants reach it, `http://192.168.1.20:8765` or `https://study.example.org`."""
    database: Database | None = None
    """postgresql://USER@HOST/NAME; by default SQLite in the folder."""
    participants: ParticipantsConfig = ParticipantsConfig()
    views: Count | None = None
    """How many people see each pair, patch or candidate; by default as many as there are."""
    consent: Text = (
        "You will be shown images and asked what you think of them. Your answers are kept with the "
        "time they took, under a number and without your name or address. You may stop at any time."
    )
    thanks: Text = "That was all. Thank you for taking part!"
    seed: Seed = 0

    @property
    def place(self) -> Path:
        """The folder."""
        return Path(self.folder)

    @property
    def judged(self) -> Path:
        """Where `judge` writes what it says of this study."""
        return self.place / "judged"


def origin_of(address: str) -> str:
    """A public address as browsers name it: scheme, host and port alone.

    Raises:
        ValueError: it is another kind of address, or leads to a folder.
    """
    scheme, separator, rest = address.rstrip("/").partition("://")
    host, colon, port = (
        rest.rpartition(":") if rest.rpartition(":")[2].isdigit() else (rest, "", "")
    )
    right = scheme in ("http", "https") and separator and host and not set(rest) & set("/?#@ ")
    if not right or (colon and not 0 < int(port) < 1 << 16):
        raise ValueError(f"found {address!r}, allowed http(s)://NAME or http(s)://NAME:PORT")
    return f"{scheme}://{rest.lower()}"


def read_study(path: str | Path, overrides: list[str] | None = None) -> StudyConfig:
    """The study in a YAML file.

    Raises:
        UsageError: one line that names every problem found.
    """
    return read_config(path, overrides, StudyConfig)
