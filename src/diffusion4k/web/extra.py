"""The libraries that only web pages need, checked before anything is started."""

from importlib.util import find_spec

from diffusion4k.errors import Diffusion4kError

__all__ = ["require_web"]


def require_web() -> None:
    """Refuse to continue without FastAPI, uvicorn and SQLModel.

    Raises:
        Diffusion4kError: names what is missing and how to install it.
    """
    missing = [name for name in ("fastapi", "uvicorn", "sqlmodel") if find_spec(name) is None]
    if missing:
        raise Diffusion4kError(
            f"{', '.join(missing)}: not installed, but needed here: "
            "`pip install 'diffusion4k[web]'`"
        )
