"""The kinds of problems a dataset can have, and what a corrected copy does about each."""

from dataclasses import dataclass

__all__ = ["KINDS", "Kind", "is_correctable"]


@dataclass(frozen=True)
class Kind:
    """What is wrong, and how a copy is corrected; None: the photograph is left out."""

    meaning: str
    correction: str | None = None


KINDS = {
    "missing": Kind("named, but not there"),
    "broken": Kind("not an image, or not decodable to its last pixel"),
    "unnamed": Kind("an image that has no caption: `diffusion4k dataset caption` writes them"),
    "unread": Kind("a file that looks like a picture, of a kind that is not read"),
    "named-twice": Kind("a second line for the same file", "the first line is kept"),
    "duplicate": Kind("the same pixels as another photograph", "one of them is kept"),
    "near-duplicate": Kind(
        "another photograph again: resized, cropped, mirrored, re-encoded", "the larger is kept"
    ),
    "overlap": Kind("the same photograph in training and evaluation", "kept in evaluation"),
    "too-small": Kind("the shorter side is too short"),
    "aspect": Kind("too long for its width"),
    "path": Kind("a path that leads out of the dataset"),
    "symlink": Kind("a link to a file outside of the dataset", "the file itself is taken"),
    "name": Kind(
        "named in other letters (upper or lower case, Unicode normal form) than the file has, or "
        "told from another file by these alone",
        "renamed",
    ),
    "ending": Kind("a file name that ends otherwise than its content asks for", "renamed"),
    "metadata": Kind("a line that is no JSON object with a file name"),
    "encoding": Kind("text that is not UTF-8"),
    "archive": Kind("an archive, or a member of one, that cannot be read"),
    "caption-missing": Kind(
        "no caption, or an empty one: `diffusion4k dataset caption` writes them"
    ),
    "caption-alone": Kind("a caption whose picture is not there"),
    "caption-long": Kind("a caption longer than text encoders read", "cut after a sentence"),
    "caption-refusal": Kind("a captioner's refusal in place of a caption"),
    "caption-introduction": Kind(
        "begins with a phrase that the captioning prompt forbids (`This image shows`)",
        "the phrase is taken away",
    ),
    "caption-characters": Kind(
        "control characters, marks of a wrong decoding, a model's thoughts", "taken away"
    ),
    "caption-repeated": Kind("one caption on many photographs"),
}
"""By name; every `Problem.kind` is one of these."""

_DROPPED = ("named-twice", "duplicate", "near-duplicate", "overlap")


def is_correctable(kind: str) -> bool:
    """Whether a photograph with such a problem can be in a corrected copy."""
    return KINDS[kind].correction is not None and kind not in _DROPPED
