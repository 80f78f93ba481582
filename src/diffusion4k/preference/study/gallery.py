"""The study's images as pages see them: by names that say nothing, in tiles, and unchanged."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from diffusion4k.errors import Diffusion4kError
from diffusion4k.preference.study.access import Refusal, Secrets
from diffusion4k.support.cores import cores
from diffusion4k.web.cache import BoundedCache
from diffusion4k.web.deepzoom import OVERLAP, TILE, Pyramid, Tile, Tiles

__all__ = ["Gallery"]

_ENCODED = 256 << 20  # bytes of tiles that are kept as they are sent
_PROBLEM = "an image cannot be shown: continue, and please tell whoever sent you here"

Result = TypeVar("Result")


class Gallery:
    """A table of image files; nothing else can be requested.

    Size and time of each file are noted at the start. A file that differs later is not shown: the
    answers before and after would be about different images. What is wrong with a file is printed
    for the owner; participants do not see it, as its name may name its model.
    """

    def __init__(self, paths: list[Path], secrets: Secrets) -> None:
        self._states = {path: _state(path) for path in paths}
        self._names = {path: secrets.picture(f"{path}/{self._states[path]}") for path in paths}
        self._paths = {name: path for path, name in self._names.items()}
        self._broken: set[Path] = set()
        # Many threads that make tiles would leave the one that takes answers no time.
        self._makers = CapacityLimiter(max(cores() - 1, 1))
        self._tiles = Tiles()
        self._pyramids: dict[Path, Pyramid] = {}
        self._encoded: BoundedCache[Tile] = BoundedCache(_ENCODED, lambda tile: len(tile.content))

    def describe(self, path: Path) -> dict[str, object] | None:
        """What a viewer has to know of an image; None if it cannot be shown."""
        try:
            found = self._look(path, lambda: self._pyramid(path))
        except Refusal:
            return None
        return {
            "key": self._names[path],
            "width": found.width,
            "height": found.height,
            "top": found.top,
            "tile": TILE,
            "overlap": OVERLAP,
        }

    async def tile(self, name: str, level: int, column: int, row: int) -> Tile:
        """A tile of an image.

        Raises:
            Refusal: no such image or tile, or it cannot be shown.
        """
        path = self._paths.get(name)
        if path is None:
            raise Refusal(404, "no such image: reload the page")
        pyramid = self._look(path, lambda: self._pyramid(path))
        try:
            pyramid.box(level, column, row)
        except Diffusion4kError:
            raise Refusal(404, "no such tile") from None
        key = (name, level, column, row)
        made = self._encoded.peek(key)
        if made is None:
            made = await to_thread.run_sync(
                self._look,
                path,
                lambda: self._encoded.get(key, lambda: self._tiles.tile(path, level, column, row)),
                limiter=self._makers,
            )
        self._broken.discard(path)  # It was put back.
        return made

    def is_broken(self, paths: Iterable[Path]) -> bool:
        """Whether one of the images cannot be shown."""
        return any(self.describe(path) is None or path in self._broken for path in paths)

    def _pyramid(self, path: Path) -> Pyramid:
        if path not in self._pyramids:
            self._pyramids[path] = self._tiles.pyramid(path)
        return self._pyramids[path]

    def _look(self, path: Path, look: Callable[[], Result]) -> Result:
        try:
            if _state(path) != self._states[path]:
                raise Diffusion4kError(f"{path}: changed after the study began: put it back")
            found = look()
        except Diffusion4kError as error:
            if path not in self._broken:
                print(f"error: {error}", file=sys.stderr, flush=True)
            self._broken.add(path)
            raise Refusal(422, _PROBLEM) from None
        return found


def _state(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError as error:
        raise Diffusion4kError(f"{path}: {error.strerror}: put the image back") from None
    return f"{stat.st_size}/{stat.st_mtime_ns}"
