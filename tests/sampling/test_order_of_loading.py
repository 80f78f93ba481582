"""Text encoders are there before the transformer is, and not with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffusion4k.sampling import Request, Sampler


def test_text_encoders_come_before_the_transformer(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    sampler = Sampler(tiny_model)
    family = type(sampler.family)

    def noted(load: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*arguments: Any, **keys: Any) -> Any:
            loaded.append(load.__name__)
            return load(*arguments, **keys)

        return noting

    for name in ("load_text_encoders", "load_transformer"):
        monkeypatch.setattr(family, name, noted(getattr(family, name)))
    sampler.sample(sampler.settle(Request("a cat", width=64, height=64, steps=1)))
    assert loaded == ["load_text_encoders", "load_transformer"]
