"""What tokens cost, and how many a picture costs.

Prices are in dollars per million tokens, as OpenAI's price list (platform.openai.com/docs/pricing)
had them for GPT-4o in March 2026, and may have changed since: a price in the settings goes before.
A batch costs half; tokens that OpenAI counts as cached cost less than is reckoned here.

**Tokens of a picture** (OpenAI, "Images and vision: calculating costs", tile-based models): with
`detail: low` a base; with `detail: high` the picture is scaled to fit 2048x2048, then so that its
shorter side is 768, and costs the base and a fixed number for each 512x512 tile it touches. By
the page's examples 1024x1024 costs GPT-4o 85 + 4 * 170 = 765 tokens, 2048x4096 85 + 6 * 170 = 1105.
The page leaves open whether pictures below 768 are enlarged; here they are, so that the count is
never too low. Other models count otherwise: for them it is a guess, which the tokens that the
endpoint reports correct.
"""

from dataclasses import dataclass
from math import ceil
from typing import TypeVar

from diffusion4k.endpoint.settings import EndpointSettings
from diffusion4k.errors import UsageError

__all__ = ["PRICES_OF", "Price", "image_tokens", "price_of", "text_tokens_at_most"]

Value = TypeVar("Value", int, float)

PRICES_OF = "March 2026"
_PRICES = {"gpt-4o-mini": (0.15, 0.60), "gpt-4o": (2.50, 10.00)}
_TILES = {"gpt-4o-mini": (2833, 5667), "gpt-4o": (85, 170)}
_BATCH = 0.5
_CHAT_FRAME = 16  # tokens that the roles and the ends of messages may cost


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens."""

    input: float
    output: float

    def of(self, input_tokens: float, output_tokens: float) -> float:
        """Dollars."""
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


def price_of(settings: EndpointSettings) -> Price:
    """The settings' price, or the list's; a model that neither knows costs nothing (a local one).

    Raises:
        UsageError: a budget for a model whose price is not known.
    """
    listed = _of_model(_PRICES, settings.model)
    given = (settings.input_price, settings.output_price)
    if settings.budget is not None and listed is None and None in given:
        raise UsageError(
            f"budget {settings.budget}: the price of model {settings.model!r} is not known: give "
            "its input and output price, dollars per million tokens"
        )
    discount = _BATCH if settings.batch else 1.0
    known = [discount * price for price in listed or (0.0, 0.0)]
    return Price(*(k if w is None else w for w, k in zip(given, known, strict=True)))


def image_tokens(model: str, width: int, height: int, detail: str) -> int:
    """Tokens of a picture of so many pixels; GPT-4o's rule where the model's own is not known."""
    base, tile = _of_model(_TILES, model) or _TILES["gpt-4o"]
    if detail == "low":
        return base
    fit = min(1.0, 2048 / max(width, height))
    width, height = round(width * fit), round(height * fit)
    shorter = max(1, min(width, height))
    # Whole numbers, as 512.0000001 pixels would be two tiles.
    across, down = (ceil(round(side * 768 / shorter) / 512) for side in (width, height))
    return base + tile * across * down


def text_tokens_at_most(text: str) -> int:
    """An upper bound for a message: a byte-level tokenizer makes at most one token of a byte."""
    return len(text.encode()) + _CHAT_FRAME


def _of_model(table: dict[str, tuple[Value, Value]], model: str) -> tuple[Value, Value] | None:
    """The entry whose name the model is, or is a dated version of: `gpt-4o-2024-08-06`."""
    for name, entry in table.items():
        rest = model.removeprefix(name)
        if rest != model and (not rest or rest.startswith("-20")):
            return entry
    return None
