"""What can be wrong with a caption, and what can be mended.

The paper's prompt (supplement, Table 11) asks for a description without an introductory phrase like
"This image shows", "In the scene", "This image depicts"; captioners do not always obey, and
sometimes refuse.
"""

import re
import unicodedata

from diffusion4k.endpoint.answer_text import clean_text, is_clean
from diffusion4k.endpoint.refusals import refusal_in

__all__ = ["MAX_CHARACTERS", "REPEATED", "caption_problems", "corrected"]

MAX_CHARACTERS = 2000
"""Text encoders read at most 512 tokens (T5 with Flux), which is about as much."""

REPEATED = 5
"""A caption that fits so many different photographs describes none of them."""

_IMAGE = r"(?:image|picture|photo|photograph|scene|illustration|artwork|painting)"
_SHOWS = r"(?:shows|depicts|features|captures|portrays|presents|displays|showcases|illustrates)"
_INTRODUCTION = re.compile(
    rf"(?:(?:this|the) {_IMAGE} {_SHOWS}\b(?: that\b)?"
    rf"|in (?:this|the) {_IMAGE}\b(?! (?:of|where|with)\b)"
    r"(?:,? (?:we can see|we see|there (?:is|are))\b)?"
    rf"|(?:here|this) is an? {_IMAGE} (?:of|showing|depicting)\b)[\s,:]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?。！？](?=\s|$)")
_WRONGLY_DECODED = "\ufffd"


def caption_problems(text: str) -> list[tuple[str, str]]:
    """Kind and reason of each thing that is wrong with a caption."""
    problems = []
    if strange := sorted({letter for letter in text if _is_strange(letter)}):
        found = ", ".join(f"U+{ord(letter):04X}" for letter in strange[:3])
        problems.append(("caption-characters", f"holds {found}: remove it"))
    elif not is_clean(text):
        reason = "holds a model's thoughts or marks such as <|im_end|>: remove them"
        problems.append(("caption-characters", reason))
    if refusal := refusal_in(text):
        reason = f'refusal ("{refusal} ..."): caption it again'
        problems.append(("caption-refusal", reason))
    elif introduction := _INTRODUCTION.match(text):
        reason = f'begins with "{introduction[0].strip()}": begin with the description'
        problems.append(("caption-introduction", reason))
    if len(text) > MAX_CHARACTERS:
        reason = f"{len(text)} characters, allowed at most {MAX_CHARACTERS}: shorten it"
        problems.append(("caption-long", reason))
    return problems


def corrected(text: str) -> str | None:
    """The caption without what is wrong with it; None if nothing sound is left."""
    if _WRONGLY_DECODED in text or refusal_in(text):
        return None
    text = clean_text(text)
    while introduction := _INTRODUCTION.match(text):
        text = text[introduction.end() :]
        text = text[:1].upper() + text[1:]
    if len(text) > MAX_CHARACTERS:
        text = _shortened(text)
    return text if text and not caption_problems(text) else None


def _is_strange(letter: str) -> bool:
    if letter == _WRONGLY_DECODED:
        return True
    return letter not in "\n\r\t" and unicodedata.category(letter) == "Cc"


def _shortened(text: str) -> str:
    """The whole sentences that fit, or words if the first sentence is too long."""
    text = text[: MAX_CHARACTERS + 1]
    ends = [end.end() for end in _SENTENCE_END.finditer(text) if end.end() <= MAX_CHARACTERS]
    if ends:
        return text[: ends[-1]]
    words, space, _ = text.rpartition(" ")
    return words.rstrip() if space else text[:MAX_CHARACTERS]
