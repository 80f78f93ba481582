"""The recipe of a dataset: where photographs come from and what is asked of them."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from diffusion4k.config.read import read_config
from diffusion4k.config.types import (
    Count,
    NonNegative,
    Number,
    Output,
    Positive,
    Probability,
    Section,
    Seed,
    Text,
    matching,
    named,
)
from diffusion4k.curation.duplicates.groups import CORRELATION, DISTANCE
from diffusion4k.curation.measures import MEASURES
from diffusion4k.curation.thresholds import Thresholds
from diffusion4k.data.folder import MAX_ASPECT
from diffusion4k.errors import UsageError

__all__ = [
    "CaptionsRecipe",
    "DatasetRecipe",
    "DuplicatesRecipe",
    "FetchRecipe",
    "FolderSource",
    "HeaderRecipe",
    "HookRecipe",
    "HuggingFaceSource",
    "ParquetSource",
    "PublishRecipe",
    "ScoresRecipe",
    "Source",
    "SplitRecipe",
    "TarSource",
    "load_dataset_recipe",
]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class _Source(Section):
    """`captions` are the keys or columns that may hold the caption; the first that does, counts."""

    path: Text
    prefix: Annotated[str, matching(r"[\w-]*", "letters, digits, `_` and `-`")] = ""
    """Folder of the dataset that the pictures go to; keeps the names of several sources apart."""
    captions: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ("text", "caption")


class FolderSource(_Source):
    """Pictures in a folder and all below it; `pocket` is the bundled one."""

    kind: Literal["folder"] = "folder"


class TarSource(_Source):
    """WebDataset tars: one, or several as `shards/*.tar`."""

    kind: Literal["tars"] = "tars"


class ParquetSource(_Source):
    """Parquet files, one or several: the column that holds bytes, paths or URLs of pictures."""

    kind: Literal["parquet"] = "parquet"
    bytes: Text | None = None
    file: Text | None = None
    url: Text | None = None
    root: Text | None = None
    """Folder that paths are relative to and may not leave; by default that of the parquet file."""

    @model_validator(mode="after")
    def _one_column(self) -> "ParquetSource":
        if sum(bool(column) for column in (self.bytes, self.file, self.url)) != 1:
            raise PydanticCustomError(
                "column", "a parquet source needs one of bytes, file or url: the name of a column"
            )
        return self


class HuggingFaceSource(_Source):
    """A downloaded dataset: parquet shards with an Image column, or an image folder."""

    kind: Literal["huggingface"] = "huggingface"
    image: Text = "image"
    split: Text | None = None
    """Only shards whose name begins so, or only this sub-folder; by default all."""


_COLUMNS = (
    "index key name source kind path start length column text step reason width height bytes "
    "format file_hash pixel_hash perceptual_hash split kept aesthetic caption_match problem place "
    "sha256 source_hash"
)

Source: TypeAlias = Annotated[
    FolderSource | TarSource | ParquetSource | HuggingFaceSource, Field(discriminator="kind")
]


class FetchRecipe(Section):
    """How pictures at URLs are fetched; `pause` seconds before the second try, then doubled."""

    timeout: Positive = 20.0
    """Seconds without a byte."""
    deadline: Positive = 300.0
    """Seconds for a whole picture."""
    retries: Annotated[int, Field(strict=True, ge=0)] = 3
    pause: NonNegative = 1.0
    max_bytes: Count = 1 << 28
    internal: StrictBool = False
    """Whether servers of one's own network may be asked: a list of URLs may name any."""


class HeaderRecipe(Section):
    """Limits that are checked before anything is decoded."""

    min_shorter_side: Count = 4096
    max_aspect: Annotated[Number, Field(ge=1, le=MAX_ASPECT)] = 3.0
    max_pixels: Count = 300_000_000
    """Decoding takes 3 bytes a pixel and measuring some more, in every thread."""
    min_bytes: Count = 1
    max_bytes: Count = 1 << 29
    formats: tuple[Text, ...] | None = None
    """Pillow's names, such as JPEG and PNG; by default all that can be read."""


class DuplicatesRecipe(Section):
    """When two pictures count as the same, up to coding, size, colour, mirror and crop."""

    distance: Annotated[int, Field(strict=True, ge=0, le=128)] = DISTANCE
    """Bits of 128 in which perceptual hashes differ at most."""
    least_correlation: Annotated[Number, Field(gt=0, le=1)] = CORRELATION
    """Least correlation of two thumbnails laid over each other."""


class CaptionsRecipe(Section):
    """`required`: what has no caption is dropped; without, it is published with an empty one."""

    required: StrictBool = False


class ScoresRecipe(Section):
    """Scores by CLIP; none without `clip`, a model's folder or hub id."""

    clip: Text | None = None
    aesthetic: Text | None = None
    """Weights of LAION's predictor for ViT-L/14 (sac+logos+ava1-l14-linearMSE)."""
    min_aesthetic: Number | None = None
    """About 1 to 10; LAION-Aesthetics V2 kept 6.5 and more, UltraHR-100K 4.5."""
    min_caption_match: Number | None = None
    """100 times the cosine of picture and caption, as CLIPScore counts; null: not measured."""

    @model_validator(mode="after")
    def _complete(self) -> "ScoresRecipe":
        wanted = self.aesthetic is not None or self.min_caption_match is not None
        if wanted and self.clip is None:
            raise PydanticCustomError("clip", "scores need clip: a CLIP model's folder or hub id")
        if self.min_aesthetic is not None and self.aesthetic is None:
            raise PydanticCustomError("clip", "min_aesthetic needs aesthetic: the weights' file")
        return self


class HookRecipe(Section):
    """A function of yours: takes an RGB array `(H, W, 3)` of uint8 and gives a number."""

    name: Annotated[
        str, matching(r"[a-z][a-z0-9_]*", "small letters, digits and `_`, beginning with a letter")
    ]
    function: Annotated[str, matching(r"[\w.]+:\w+", "`module:function`")]
    """`module:function`."""
    min: Number | None = None
    max: Number | None = None


class SplitRecipe(Section):
    """Pictures set aside for evaluation, with no near-duplicate of them left to train on."""

    share: Probability = 0.0
    count: Annotated[int, Field(strict=True, ge=0)] | None = None
    """Number of pictures set aside, in place of a share."""
    min_shorter_side: Count = 1
    """Smaller pictures are not evaluated on: 2048 or 4096, as Aesthetic-Eval@2048 and @4096."""
    seed: Seed = 0


class PublishRecipe(Section):
    """`copy`: byte for byte; else pictures are written again, upright and in sRGB, never larger."""

    format: Literal["copy", "jpeg", "png", "webp"] = "copy"
    quality: Annotated[int, Field(strict=True, ge=1, le=100)] = 95
    """Quality of JPEG and WebP."""
    max_shorter_side: Count | None = None
    """Larger pictures are made smaller (Lanczos); not with `copy`."""

    @model_validator(mode="after")
    def _copies_as_is(self) -> "PublishRecipe":
        if self.format == "copy" and self.max_shorter_side:
            raise PydanticCustomError("format", "max_shorter_side needs a format other than copy")
        return self


class DatasetRecipe(Section):
    """Everything about a dataset."""

    output: Output
    sources: Annotated[tuple[Annotated[Source, named("kind", "folder")], ...], Field(min_length=1)]
    fetch: FetchRecipe = FetchRecipe()
    header: HeaderRecipe = HeaderRecipe()
    thresholds: Thresholds = Thresholds()
    duplicates: DuplicatesRecipe = DuplicatesRecipe()
    captions: CaptionsRecipe = CaptionsRecipe()
    scores: ScoresRecipe = ScoresRecipe()
    hooks: tuple[HookRecipe, ...] = ()
    split: SplitRecipe = SplitRecipe()
    publish: PublishRecipe = PublishRecipe()


def load_dataset_recipe(path: str | Path, overrides: list[str] | None = None) -> DatasetRecipe:
    """Read and check a recipe; `overrides` are strings `key.key=value`.

    Raises:
        UsageError: one line that names every problem found.
    """
    recipe = read_config(path, overrides, DatasetRecipe)
    names = [hook.name for hook in recipe.hooks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{path}: hooks: two are named {twice[0]}: give each its own name")
    taken = sorted({name for name in names if name in (*_COLUMNS.split(), *MEASURES)})
    if taken:
        raise UsageError(f"{path}: hooks: {taken[0]} is a column of the manifest: rename the hook")
    output = recipe.output.resolve()
    for source in recipe.sources:
        if source.kind in ("folder", "huggingface") and Path(source.path).resolve() == output:
            raise UsageError(f"{path}: output: {recipe.output} is a source: choose another folder")
    return recipe
