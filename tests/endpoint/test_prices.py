"""Token counts against the examples that OpenAI's page works out, and prices by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion4k.endpoint.prices import image_tokens, price_of, text_tokens_at_most
from diffusion4k.endpoint.settings import EndpointSettings
from diffusion4k.errors import UsageError


@pytest.mark.parametrize(
    ("size", "detail", "tokens"),
    [
        ((1024, 1024), "high", 765),
        ((2048, 4096), "high", 1105),
        ((4096, 8192), "low", 85),
        ((768, 768), "high", 765),
        ((512, 512), "high", 765),  # enlarged to 768
        ((1536, 1024), "high", 85 + 6 * 170),
        ((8192, 1024), "high", 85 + 170 * 12 * 2),  # 2048 x 256, then 6144 x 768
    ],
)
def test_examples(size: tuple[int, int], detail: str, tokens: int) -> None:
    assert image_tokens("gpt-4o", *size, detail) == tokens
    assert image_tokens("gpt-4o-2024-08-06", *size, detail) == tokens


def test_other_models() -> None:
    assert image_tokens("gpt-4o-mini", 1024, 1024, "high") == 2833 + 4 * 5667
    assert image_tokens("some/local-model", 1024, 1024, "high") == 765


@given(st.integers(1, 20000), st.integers(1, 20000), st.sampled_from(["low", "high"]))
def test_turning_the_picture_changes_nothing(width: int, height: int, detail: str) -> None:
    first = image_tokens("gpt-4o", width, height, detail)
    assert first == image_tokens("gpt-4o", height, width, detail) >= 85


def test_price() -> None:
    assert price_of(EndpointSettings()).of(1e6, 1e6) == pytest.approx(12.5)
    assert price_of(EndpointSettings(batch=True)).of(1e6, 0) == pytest.approx(1.25)
    assert price_of(EndpointSettings(model="gpt-4o-mini")).of(1e6, 1e6) == pytest.approx(0.75)
    assert price_of(EndpointSettings(model="local")).of(1e6, 1e6) == 0
    own = EndpointSettings(model="local", input_price=1, output_price=2, budget=3)
    assert price_of(own).of(1000, 1000) == pytest.approx(0.003)


@pytest.mark.parametrize("model", ["local", "gpt-4o-audio-preview", "gpt-4"])
def test_a_budget_needs_a_price(model: str) -> None:
    with pytest.raises(UsageError, match=f"price of model '{model}' is not known"):
        price_of(EndpointSettings(model=model, budget=1.0, input_price=1.0))


@given(st.text())
def test_a_token_is_at_least_a_byte(text: str) -> None:
    assert text_tokens_at_most(text) >= len(text.encode())
