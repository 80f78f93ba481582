"""Problems that show only when pictures are seen together: duplicates, captions, file names."""

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from diffusion4k.curation import duplicates
from diffusion4k.curation.verify.captions import REPEATED, corrected
from diffusion4k.curation.verify.pictures import VerifiedPhoto
from diffusion4k.data.problems import Problem

__all__ = ["find_clashing_names", "find_duplicates", "find_repeated_captions", "spelling"]


def spelling(file_name: str) -> str:
    """The name without what differs between file systems: case and Unicode normal form."""
    name = unicodedata.normalize("NFC", posixpath.normpath(file_name))
    return unicodedata.normalize("NFC", name.casefold())


def find_duplicates(pictures: Sequence[VerifiedPhoto]) -> None:
    """Note on all but one picture of a group of duplicates that they are there already.

    Kept is one that can be in a corrected copy, and one of evaluation rather than of training, as
    scores on pictures trained on mean nothing; of those the largest. Sets of evaluation may share
    pictures: those of Aesthetic-4K at 4096 are among those at 2048.
    """
    decoded = [picture for picture in pictures if picture.fingerprint]
    prints = [picture.fingerprint for picture in decoded if picture.fingerprint]
    for members in duplicates.find_duplicates(prints).members():
        kept: list[VerifiedPhoto] = []
        for picture in sorted((decoded[number] for number in members), key=_rank):
            first = next((other for other in kept if not _may_share(picture, other)), None)
            if first is None:
                kept.append(picture)
                continue
            same = picture.pixels == first.pixels
            what = f"{'same pixels' if same else 'nearly the same'} as {first.where}"
            if _evaluates(picture) != _evaluates(first):
                picture.add("overlap", f"{what}: a picture trains or evaluates, not both")
            else:
                picture.add("duplicate" if same else "near-duplicate", f"{what}: keep one of them")


def find_repeated_captions(pictures: Sequence[VerifiedPhoto]) -> None:
    """Note captions that stand on many different pictures."""
    texts = [corrected(picture.photo.text) or picture.photo.text for picture in pictures]
    different = {(text, p.pixels) for text, p in zip(texts, pictures, strict=True)}
    counts = Counter(text for text, _ in different)
    for text, picture in zip(texts, pictures, strict=True):
        if counts[text] >= REPEATED:
            reason = f'{counts[text]} pictures have the caption "{text[:60]}": caption each'
            picture.add("caption-repeated", reason)


def find_clashing_names(pictures: Iterable[VerifiedPhoto]) -> None:
    """Note names that are one and the same on systems that ignore case or normal form."""
    named: dict[tuple[str, str], str] = {}
    for picture in pictures:
        name = picture.photo.file_name
        first = named.setdefault((picture.part.name, spelling(name)), name)
        if posixpath.normpath(first) != posixpath.normpath(name):
            reason = f"{first} is the same name where case or Unicode form is ignored: rename it"
            picture.problems.append(Problem(picture.where, reason, "name"))


def _rank(picture: VerifiedPhoto) -> tuple[bool, bool, int, int]:
    pixels = picture.photo.width * picture.photo.height
    return not picture.is_correctable, not _evaluates(picture), -pixels, -picture.bytes


def _evaluates(picture: VerifiedPhoto) -> bool:
    return picture.part.is_evaluation


def _may_share(one: VerifiedPhoto, other: VerifiedPhoto) -> bool:
    return one.part != other.part and _evaluates(one) and _evaluates(other)
