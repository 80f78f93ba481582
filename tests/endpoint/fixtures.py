"""What tests of anything that asks an endpoint need: the key, short waits, settings."""

from typing import Any, TypeVar

import pytest

from diffusion4k.config.types import Section
from tests.endpoint.server import KEY

Kind = TypeVar("Kind", bound=Section)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of a second are none of a test's."""
    monkeypatch.setattr("diffusion4k.endpoint.sender._FIRST_WAIT", 0.005)
    monkeypatch.setattr("diffusion4k.endpoint.sender._LONGEST_WAIT", 0.02)


def settings_of(kind: type[Kind], endpoint: dict[str, Any], changes: dict[str, Any]) -> Kind:
    """Settings of a kind; `changes` are of its own fields, or else of its endpoint."""
    outer = {name: value for name, value in changes.items() if name in kind.model_fields}
    inner = {name: value for name, value in changes.items() if name not in outer}
    return kind.model_validate({"endpoint": endpoint | inner, **outer})
