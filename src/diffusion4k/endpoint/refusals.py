"""Answers that are no captions: refused, empty, or too long.

refused   the endpoint says so, or the text begins as refusals do ("I'm sorry, ...")
empty     no letter and no digit
long      cut off at the token limit, or more words than allowed
"""

import re

__all__ = ["flag_of", "refusal_in"]

# A caption starts with what is in the picture, never with the speaker.
_REFUSAL = re.compile(
    r"\W*(?:unfortunately,? )?(?:"
    r"(?:i['’]?m|i am|we['’]?re|we are) (?:really |very |so |truly )?"
    r"(?:sorry|afraid|unable|not able)\b"
    r"|(?:i )?apologi[sz]e\b|my apologies\b|sorry[,.]|sorry but\b"
    r"|(?:i|we) (?:can['’]?t|cannot|can not|won['’]?t|am not able to|do not|don['’]?t)\b"
    r"|as an ai\b)",
    re.IGNORECASE,
)


def refusal_in(text: str) -> str | None:
    """The words by which a text begins as refusals do; None if it does not."""
    found = _REFUSAL.match(text)
    return found[0] if found else None


def flag_of(text: str, refusal: str | None, finish: str | None, most_words: int) -> str | None:
    """Why an answer is no caption, in one word; None if it is one."""
    if refusal or finish == "content_filter" or refusal_in(text):
        return "refused"
    if not any(letter.isalnum() for letter in text):
        return "empty"
    if finish == "length" or len(text.split()) > most_words:
        return "long"
    return None
