"""The kinds of problems a dataset can have, and what a corrected copy does about each."""

from dataclasses import dataclass

__all__ = ["KINDS", "ProblemKind", "is_correctable"]


@dataclass(frozen=True)
class ProblemKind:
    """What is wrong, and how a copy is corrected; None: the photograph is left out."""

    meaning: str
    correction: str | None = None


KINDS = {
    "missing": ProblemKind("named, but missing"),
    "broken": ProblemKind("not an image, or not decodable to its last pixel"),
    "unnamed": ProblemKind(
        "an image that has no caption: `diffusion4k dataset caption` writes them"
    ),
    "unread": ProblemKind("a file that looks like a picture, but of a kind that is not read"),
    "named-twice": ProblemKind("a second line for the same file", "the first line is kept"),
    "duplicate": ProblemKind("the same pixels as another photograph", "one of them is kept"),
    "near-duplicate": ProblemKind(
        "another photograph again: resized, cropped, mirrored, re-encoded", "the larger is kept"
    ),
    "overlap": ProblemKind("the same photograph in training and evaluation", "kept in evaluation"),
    "too-small": ProblemKind("the shorter side is too short"),
    "aspect": ProblemKind("too long for its width"),
    "path": ProblemKind("a path that leads out of the dataset"),
    "symlink": ProblemKind("a link to a file outside the dataset", "the file itself is used"),
    "name": ProblemKind(
        "named in other letters (upper or lower case, Unicode normal form) than the file has, or "
        "distinguished from another file by these alone",
        "renamed",
    ),
    "ending": ProblemKind("a file name whose ending does not match its content", "renamed"),
    "metadata": ProblemKind("a line that is not a JSON object with a file name"),
    "encoding": ProblemKind("text that is not UTF-8"),
    "archive": ProblemKind("an archive, or a member of one, that cannot be read"),
    "caption-missing": ProblemKind(
        "no caption, or an empty one: `diffusion4k dataset caption` writes them"
    ),
    "caption-alone": ProblemKind("a caption whose picture is missing"),
    "caption-long": ProblemKind("a caption longer than text encoders read", "cut after a sentence"),
    "caption-refusal": ProblemKind("a captioner's refusal in place of a caption"),
    "caption-introduction": ProblemKind(
        "begins with a phrase that the captioning prompt forbids (`This image shows`)",
        "the phrase is removed",
    ),
    "caption-characters": ProblemKind(
        "control characters, marks of a wrong decoding, a model's thoughts", "taken away"
    ),
    "caption-repeated": ProblemKind("one caption on many photographs"),
}
"""Kinds of problems by name; every `Problem.kind` is one of these."""

_DROPPED = ("named-twice", "duplicate", "near-duplicate", "overlap")


def is_correctable(kind: str) -> bool:
    """Whether a photograph with such a problem can be in a corrected copy."""
    return KINDS[kind].correction is not None and kind not in _DROPPED
