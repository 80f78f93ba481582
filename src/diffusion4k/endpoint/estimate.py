"""What a run would cost and how long it would take, in one line, before anything is sent."""

import math
from collections.abc import Sequence

from diffusion4k.endpoint.prices import PRICES_OF, price_of
from diffusion4k.endpoint.settings import EndpointSettings

__all__ = ["estimate", "likely_text_tokens"]

_LETTERS_PER_TOKEN = 4.5  # of English text, as a rule


def likely_text_tokens(text: str) -> int:
    """About how many tokens an English text has."""
    return math.ceil(len(text) / _LETTERS_PER_TOKEN)


def estimate(
    what: str,
    most: Sequence[int],
    settings: EndpointSettings,
    *,
    used: int,
    written: int,
    seconds: float,
) -> str:
    """One line: about how many tokens, dollars and how much time.

    Args:
        what: what is asked for: "12 pictures to caption".
        most: the greatest number of input tokens of each request.
        used: input tokens that all are likely to have.
        written: output tokens that all are likely to have.
        seconds: that an answer is likely to take.
    """
    price = price_of(settings)
    worst = sum(price.of(tokens, settings.max_output_tokens) for tokens in most)
    line = f"{what}: about {used:,} input and {written:,} output tokens"
    if price.input or price.output:
        line += f", ${price.of(used, written):.2f} (at most ${worst:.2f} if each is answered once;"
        line += f" prices of {PRICES_OF})" if settings.input_price is None else ")"
    else:
        line += ", free of charge or of unknown price"
    if settings.batch:
        return f"{line}, within 24 hours"
    least = [len(most) * seconds / settings.concurrency]
    if settings.requests_per_minute:
        least.append(len(most) / settings.requests_per_minute * 60)
    if settings.tokens_per_minute:
        tokens = sum(most) + len(most) * settings.max_output_tokens
        least.append(tokens / settings.tokens_per_minute * 60)
    return f"{line}, {_duration(max(least))} at {seconds:g} s an answer"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
