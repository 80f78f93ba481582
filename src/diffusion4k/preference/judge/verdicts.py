"""A judge's answer read: for each question the first or the second image, or why neither.

    1. Visual Aesthetics: the first image is better. The reason is ...
       ^ heading          ^ verdict                 ^ reason

Whatever does not change the meaning is passed over: Markdown, brackets, quotes, capitals,
numbering, line breaks, "image 1" for "the first image", "slightly better". Nothing is guessed: a
verdict that is not one of these, a question without a verdict or with two that differ, and a reason
that says the opposite of its verdict make the whole answer unusable.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, TypeAlias

from diffusion4k.endpoint.refusals import refusal_in
from diffusion4k.errors import Diffusion4kError
from diffusion4k.preference.study.questions import PAPER

__all__ = ["Unparsable", "Verdict", "read_verdicts"]

Verdict: TypeAlias = Literal["first", "second"]

_MARKS = re.compile(r"[*_#`~<>\[\](){}|⟨⟩〈〉《》«»‹›\"'“”„‘’‚]+")
_TITLES = "|".join(re.escape(question.title.lower()) for question in PAPER)
# At the start of a line, or after the number of a list: in a sentence it is no heading.
_HEADING = re.compile(
    rf"(?:^[^\w\n]*(?:\d[.:)]?)?|\b\d[.:)])[^\w\n]*({_TITLES})[ \t]*(?:[:\-–—]|$)", re.M
)
_REASON = re.compile(r"\b(?:the )?reasons?\b|\bbecause\b|\bas it\b|\bsince\b")
_SIDE: dict[Verdict, str] = {
    "first": r"(?:first|1st)(?: image| picture| one)?|image (?:1|one)",
    "second": r"(?:second|2nd)(?: image| picture| one)?|image (?:2|two)",
}
_DEGREE = r"(?:(?:slightly|clearly|much|far|significantly|somewhat|marginally) )?"
_OPPOSITE: dict[Verdict, Verdict] = {"first": "second", "second": "first"}


def _verdict_pattern(side: Verdict) -> re.Pattern[str]:
    than = rf"(?: than (?:the )?(?:other(?: image| one)?|{_SIDE[_OPPOSITE[side]]}))?"
    return re.compile(rf"(?:the )?(?:{_SIDE[side]})(?: is)?(?: {_DEGREE}better{than})?")


_VERDICTS: dict[Verdict, re.Pattern[str]] = {
    "first": _verdict_pattern("first"),
    "second": _verdict_pattern("second"),
}
_CLAIMS: dict[Verdict, re.Pattern[str]] = {
    side: re.compile(rf"\b(?:{_SIDE[side]}) (?:is|looks|seems|appears) {_DEGREE}better\b")
    for side in _OPPOSITE
}


class Unparsable(Diffusion4kError):
    """The answer tells no clear preference; the text says why in few words."""


def read_verdicts(
    text: str, questions: Sequence[str], *, refusal: str | None = None, finish: str | None = None
) -> dict[str, Verdict]:
    """The verdict on each question, by its name.

    Args:
        text: as the judge answered.
        questions: names of those that are needed.
        refusal, finish: as the endpoint gave them.

    Raises:
        Unparsable: the answer is refused, cut off, or not clear on one of the questions.
    """
    if refusal or finish == "content_filter" or refusal_in(text):
        raise Unparsable("refused")
    if not text.strip():
        raise Unparsable("empty")
    if finish == "length":
        raise Unparsable("cut off")
    bodies = _bodies(_plain(text))
    verdicts = {}
    for question in PAPER:
        found = bodies.get(question.title.lower(), [])
        if question.name not in questions:
            continue
        if not found:
            raise Unparsable(f"no answer on {question.name}")
        said = {_verdict(body, question.name) for body in found}
        if len(said) > 1:
            raise Unparsable(f"two answers on {question.name}")
        verdicts[question.name] = said.pop()
    return verdicts


def _plain(text: str) -> str:
    """Lower case, without marks, one blank between words; lines stay."""
    text = _MARKS.sub(" ", unicodedata.normalize("NFKC", text).lower())
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def _bodies(text: str) -> dict[str, list[str]]:
    """What stands under each heading."""
    headings = list(_HEADING.finditer(text))
    found: dict[str, list[str]] = {}
    for i, heading in enumerate(headings):
        end = headings[i + 1].start() if i + 1 < len(headings) else len(text)
        body = " ".join(text[heading.end() : end].split())
        found.setdefault(heading[1], []).append(body.lstrip(" :-–—.,"))
    return found


def _verdict(body: str, question: str) -> Verdict:
    """The image that is named before the reason, if nothing speaks against it."""
    reason = _REASON.search(body)
    sentence = re.search(r"[.;:,!\n]|$", body)
    assert sentence
    end = min(reason.start() if reason else len(body), sentence.start())
    said = body[:end].strip(" :-–—.,;!")
    sides = [side for side, pattern in _VERDICTS.items() if pattern.fullmatch(said)]
    if len(sides) != 1:
        raise Unparsable(f"no clear answer on {question}")
    [side] = sides
    if _CLAIMS[_OPPOSITE[side]].search(body[end:]):
        raise Unparsable(f"contradicts itself on {question}")
    return side
