"""The text of a model's answer, without what servers leave in it by mistake.

Thoughts up to `</think>`, a chat template's marks (`<|im_end|>`), control characters and halves of
surrogate pairs are no part of what was asked for, and the last two cannot be stored as UTF-8 or are
refused by those who read the text.
"""

import re

from diffusion4k.support.text_files import printable

__all__ = ["clean_text", "is_clean"]

_THOUGHT = r"(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|reflection)"
_END_OF_THOUGHTS = re.compile(rf"\A.*</{_THOUGHT}>", re.DOTALL | re.IGNORECASE)
_OPEN_THOUGHTS = re.compile(rf"<{_THOUGHT}>.*\Z", re.DOTALL | re.IGNORECASE)
_FINAL_CHANNEL = re.compile(r"\A.*<\|channel\|>\s*final\s*<\|message\|>", re.DOTALL)
_ROLE = re.compile(r"<\|(?:im_start|start|start_header_id|role)\|>\s*assistant\b")
_MARK = re.compile(
    r"<[|｜][^<>|｜\n]{1,40}[|｜]>|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>|\[/?INST\]"
)


def clean_text(text: str) -> str:
    """The answer itself; empty if there is nothing but thoughts."""
    text = _FINAL_CHANNEL.sub("", printable(text))
    text = _OPEN_THOUGHTS.sub("", _END_OF_THOUGHTS.sub("", text))
    return _MARK.sub("", _ROLE.sub("", text)).strip()


def is_clean(text: str) -> bool:
    """Whether nothing would be taken away but blanks around the text."""
    return clean_text(text) == text.strip()
