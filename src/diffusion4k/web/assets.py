"""Files that a page loads: read once at the start, afterwards found in a table.

What a request names is only ever looked up in that table, so no request reaches the file system.
"""

from pathlib import Path

from starlette.responses import PlainTextResponse, Response

__all__ = ["SHARED", "Assets"]

SHARED = Path(__file__).parent / "static"
"""Files for any page: the viewer for deep zoom, and the script that drives it."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Assets:
    """All files with a known ending in some folders, by name without the folder."""

    def __init__(self, *folders: Path) -> None:
        self._files = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for folder in folders
            for path in sorted(folder.rglob("*"))
            if path.suffix in _TYPES
        }

    def text(self, name: str) -> str:
        """The content of a file that is there."""
        return self._files[name][0].decode()

    def respond(self, name: str) -> Response:
        """The file, or a 404."""
        if name not in self._files:
            return PlainTextResponse("no such file", 404)
        content, media_type = self._files[name]
        return Response(content, media_type=media_type)
