"""The option `--address` of `links` and `serve`, which overrides the study's key."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusion4k.preference.study.config import StudyConfig

__all__ = ["with_address"]


def with_address(config: "StudyConfig", address: str | None) -> "StudyConfig":
    """The study with another address, if one is given.

    Raises:
        UsageError: it is not the address of a site.
    """
    from diffusion4k.errors import UsageError
    from diffusion4k.preference.study.config import origin_of

    if address is None:
        return config
    try:
        return config.model_copy(update={"address": origin_of(address)})
    except ValueError as error:
        raise UsageError(f"--address: {error}") from None
