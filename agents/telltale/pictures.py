"""From uploaded bytes to an upright sRGB picture, checked before it is decoded.

In: bytes nobody has looked at, and limits. Out: ``Header`` (what the bytes claim) and pixels
(H x W x 3 uint8, first frame, turned upright by EXIF, colour-managed to sRGB, alpha laid on white).
Raises ``Rejected`` with a published code and nothing else. The format is told by the first bytes,
and only that format's decoder is shown the rest; sizes are checked before any pixel is decoded.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from telltale.errors import Rejected
from telltale.regions import Pixels

# Formats in which people upload photographs. Others that Pillow can open (EPS runs an
# interpreter, WMF, FITS, ...) only widen the door. An MPO is a JPEG with more behind it.
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"),
    (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"),
)  # fmt: skip
# Pictures too, but not accepted: the uploader is told so, rather than that they are none.
OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"%!PS", "EPS"), (b"8BPS", "PSD"), (b"\0\0\x01\0", "ICO"), (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"), (b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"\xffO\xffQ", "JPEG 2000"),
    (b"qoif", "QOI"), (b"II+\0", "BigTIFF"), (b"MM\0+", "BigTIFF"),
)  # fmt: skip
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What a header may claim; px."""

    max_px: int
    max_side_px: int
    min_side_px: int


@dataclass(frozen=True)
class Header:
    """What the bytes say they are; width and height as stored, before EXIF turns them, px."""

    media_type: str
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Examined:
    """A picture that was decoded whole: media type, upright size (px), perceptual hash."""

    media_type: str
    width_px: int
    height_px: int
    phash: str


def examine(data: bytes, limits: Limits) -> Examined:
    """Check the header, decode, hash. Raises ``Rejected``."""
    header = read_header(data, limits)
    pixels = decode(data)
    height, width = pixels.shape[:2]
    return Examined(header.media_type, width, height, perceptual_hash(pixels))


def read_header(data: bytes, limits: Limits) -> Header:
    """Format and size without decoding. Raises ``Rejected``."""
    with _opened(data) as picture:
        width, height = picture.size
        if min(width, height) < limits.min_side_px or max(width, height) > limits.max_side_px:
            raise Rejected(
                "dimensions",
                f"{width} x {height} px; sides from {limits.min_side_px} to "
                f"{limits.max_side_px} px are accepted",
            )
        if width * height > limits.max_px:
            raise Rejected(
                "decompression_bomb", f"{width} x {height} px is over {limits.max_px} px"
            )
        kind = "image/jpeg" if picture.format == "MPO" else Image.MIME[picture.format or ""]
        return Header(kind, width, height)


def decode(data: bytes) -> Pixels:
    """The upright sRGB pixels, H x W x 3 uint8. Call after ``read_header``; raises ``Rejected``."""
    with _opened(data) as picture:
        picture.load()
        return np.array(_srgb(_upright(picture)))


def perceptual_hash(pixels: Pixels) -> str:
    """64-bit DCT perceptual hash as 16 hex digits (imagehash.phash)."""
    return str(imagehash.phash(Image.fromarray(pixels)))


def hash_distance(a: str, b: str) -> int:
    """Bits by which two perceptual hashes differ, 0 to 64."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The picture in ``data``, not yet decoded; whatever decoding raises becomes ``Rejected``."""
    kind = _kind(data)
    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as picture:
            yield picture
    except Rejected:
        raise
    except (MemoryError, Image.DecompressionBombError) as error:
        raise Rejected("decompression_bomb", f"too large to decode: {error}") from error
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
        raise _refusal(kind, data, error) from error


def _kind(data: bytes) -> str:
    """The accepted format that the first bytes are of. Raises ``Rejected``."""
    if not data:
        raise Rejected("empty", "the upload has no bytes")
    start = data[:12]
    if start[:4] == b"RIFF" and start[8:12] in (b"WEBP", b""):
        return "WEBP"
    for signature, name in SIGNATURES:
        if start.startswith(signature):
            return name
    other = next((name for signature, name in OTHERS if start.startswith(signature)), None)
    if other is None and start[4:8] == b"ftyp":
        other = "AVIF or HEIF"
    if other is None and b"<svg" in data[:1024].lower():
        other = "SVG"
    accepted = "JPEG, PNG, WebP, GIF, BMP and TIFF are accepted"
    if other is not None:
        raise Rejected("format_unsupported", f"the picture is {other}; {accepted}")
    raise Rejected("not_an_image", f"the bytes are no picture; {accepted}")


def _refusal(kind: str, data: bytes, error: Exception) -> Rejected:
    """Which code fits what a decoder raised."""
    said = str(error)
    if "too large" in said:  # compressed text or profile that unpacks past Pillow's bound
        return Rejected("decompression_bomb", f"the {kind} unpacks to too much: {said}")
    if _cut_short(kind, data) or "truncated" in said.lower() or isinstance(error, EOFError):
        return Rejected("truncated", f"the {kind} ends before its picture does")
    if isinstance(error, UnidentifiedImageError):
        said = "its header cannot be read"
    return Rejected("decode_failed", f"the {kind} cannot be decoded: {said}"[:300])


def _cut_short(kind: str, data: bytes) -> bool:
    """Whether the container says that there should be more bytes than there are."""
    if kind == "WEBP":
        return len(data) < 12 or len(data) < 8 + struct.unpack_from("<I", data, 4)[0]
    if kind == "PNG":
        at = 8
        while at + 8 <= len(data):
            if data[at + 4 : at + 8] == b"IEND":
                return False
            at += 12 + struct.unpack_from(">I", data, at)[0]
        return True
    if kind == "JPEG":
        return data.find(b"\xff\xd9", 2) < 0
    if kind == "BMP":
        return len(data) < 6 or len(data) < struct.unpack_from("<I", data, 2)[0]
    if kind == "TIFF":
        order = "<" if data[:1] == b"I" else ">"
        at = struct.unpack_from(order + "I", data, 4)[0] if len(data) >= 8 else len(data)
        if at + 2 > len(data):
            return True
        entries: int = struct.unpack_from(order + "H", data, at)[0]
        return at + 2 + 12 * entries > len(data)
    return kind == "GIF" and not data.rstrip(b"\0").endswith(b";")


def _upright(picture: Image.Image) -> Image.Image:
    try:
        # Pillow turns a TIFF by itself while it loads, and takes the tag away
        turn = TURNS.get(picture.getexif().get(ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        turn = None  # damaged EXIF costs its metadata, not the picture
    return picture if turn is None else picture.transpose(turn)


def _srgb(picture: Image.Image) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith(("I", "F")):
        picture = _eight_bits(picture)
    if picture.mode in ("P", "PA", "LA", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    if profile and picture.mode in ("RGB", "CMYK", "L", "LAB"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile that fits neither pixels nor standard is as good as none
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greys to 8 bits; Pillow's own conversion clips, not scales.

    16-bit values span 0 to 65535. What 32-bit and float values span no format says: 65535 and 1
    where they fit, else the largest value found.
    """
    values = np.nan_to_num(np.asarray(picture).astype(np.float32), posinf=0.0, neginf=0.0)
    top = 1.0 if picture.mode.startswith("F") else 65535.0
    if not picture.mode.startswith("I;16"):
        top = max(top, float(values.max(initial=0)))
    values /= top
    np.clip(values, 0, 1, out=values)
    values *= 255
    return Image.fromarray(values.round().astype(np.uint8))
