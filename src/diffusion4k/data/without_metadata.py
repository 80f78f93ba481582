"""A picture's file without what is not its pixels.

Cameras, editors and web sites write damaged tags, histories of many megabytes and chunks with wrong
checksums. Viewers show such pictures; so the pixels are read here as well, if need be from a copy
in which only those tags are left that say how the pixels look and that can be read: orientation,
colour profile, transparency.
"""

import re
import struct
import zlib
from collections.abc import Iterator

__all__ = ["without_metadata"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_LARGEST_PROFILE = 16 << 20  # bytes
_COLOUR_TAGS = (b"tRNS", b"iCCP")
_APP1, _APP2, _APP14, _COMMENT, _START_OF_SCAN = 0xE1, 0xE2, 0xEE, 0xFE, 0xDA


def without_metadata(content: bytes) -> bytes | None:
    """The file's bytes without metadata; None if the format is none of PNG, JPEG and AVIF.

    Damage of the pixels stays as it is.
    """
    if content.startswith(_PNG):
        return _PNG + b"".join(_png_chunks(content))
    if content.startswith(_JPEG):
        return _JPEG + b"".join(_jpeg_segments(content))
    if content[4:8] == b"ftyp":
        # The item of tags gets another kind, by which a decoder passes over it.
        return re.sub(rb"(infe[\x02\x03].{7})Exif", rb"\1none", content, flags=re.DOTALL)
    return None


def _png_chunks(content: bytes) -> Iterator[bytes]:
    offset = len(_PNG)
    while offset + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, offset)
        end = offset + 12 + length
        if end > len(content):
            break
        chunk = content[offset:end]
        is_critical = not kind[0] & 0x20
        if is_critical or (kind in _COLOUR_TAGS and _is_sound(chunk)):
            yield chunk
        offset = end
    yield content[offset:]


def _is_sound(chunk: bytes) -> bool:
    kind, data, (checksum,) = chunk[4:8], chunk[8:-4], struct.unpack(">I", chunk[-4:])
    if zlib.crc32(chunk[4:-4]) != checksum:
        return False
    if kind != b"iCCP":
        return True
    try:
        decoder = zlib.decompressobj()
        decoder.decompress(data[data.index(b"\0") + 2 :], _LARGEST_PROFILE)
    except (ValueError, zlib.error):
        return False
    return decoder.eof


def _jpeg_segments(content: bytes) -> Iterator[bytes]:
    offset = len(_JPEG)
    while offset + 4 <= len(content) and content[offset] == 0xFF:
        marker, length = struct.unpack_from(">xBH", content, offset)
        if marker == _START_OF_SCAN:
            break
        segment = content[offset : offset + 2 + length]
        is_metadata = 0xE0 <= marker <= 0xEF or marker == _COMMENT
        if not is_metadata or _says_how_pixels_look(marker, segment[4:]):
            yield segment
        offset += 2 + length
    yield content[offset:]


def _says_how_pixels_look(marker: int, data: bytes) -> bool:
    if marker == _APP1:
        return data.startswith(b"Exif\0\0")
    if marker == _APP2:
        return data.startswith(b"ICC_PROFILE\0") and len(data) > 14
    return marker == _APP14 and data.startswith(b"Adobe") and len(data) >= 12
