"""From uploaded bytes to an upright sRGB picture, checked before it is decoded.

In: bytes nobody has looked at, and limits. Out: ``Header`` (what the bytes claim) and pixels
(H x W x 3 uint8, first frame, turned upright by EXIF, colour-managed to sRGB, alpha laid on white).
Raises ``Rejected`` with a published code; the header is checked before any pixel is decoded.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from telltale.errors import Rejected
from telltale.regions import Pixels

# Formats in which people upload photographs. Others that Pillow can open (EPS runs an
# interpreter, WMF, FITS, ...) only widen the door.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF")
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Limits:
    """What a header may claim; px and bytes."""

    max_px: int
    max_side_px: int
    min_side_px: int


@dataclass(frozen=True)
class Header:
    """What the bytes say they are; width and height of the upright picture, px."""

    media_type: str
    width_px: int
    height_px: int
    frames: int


def read_header(data: bytes, limits: Limits) -> Header:
    """Format and size without decoding. Raises ``Rejected``."""
    if not data:
        raise Rejected("empty", "the upload has no bytes")
    with _opened(data) as picture:
        width, height = picture.size
        if picture.getexif().get(ORIENTATION) in TURNED:
            width, height = height, width
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
        return Header(kind, width, height, getattr(picture, "n_frames", 1))


def decode(data: bytes) -> Pixels:
    """The upright sRGB pixels, H x W x 3 uint8. Call after ``read_header``; raises ``Rejected``."""
    with _opened(data) as picture:
        try:
            picture.load()
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            code = "truncated" if "truncated" in str(error).lower() else "decode_failed"
            raise Rejected(code, f"the picture cannot be decoded: {error}") from error
        except (MemoryError, Image.DecompressionBombError) as error:
            raise Rejected("decompression_bomb", f"too large to decode: {error}") from error
        upright = ImageOps.exif_transpose(picture)
        return np.array(_srgb(upright))


def perceptual_hash(pixels: Pixels) -> str:
    """64-bit DCT perceptual hash as 16 hex digits (imagehash.phash)."""
    return str(imagehash.phash(Image.fromarray(pixels)))


def hash_distance(a: str, b: str) -> int:
    """Bits by which two perceptual hashes differ, 0 to 64."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def _opened(data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF only costs its metadata
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Rejected("decompression_bomb", str(error)) from error
    except UnidentifiedImageError as error:
        raise Rejected("not_an_image", f"the bytes are none of {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, OverflowError) as error:
        raise Rejected("decode_failed", f"the header cannot be read: {error}") from error


def _srgb(picture: Image.Image) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith(("I", "F")):
        picture = _eight_bits(picture)
    if picture.mode in ("P", "PA", "LA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
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
    """16-bit and float greys to 8 bits; Pillow's own conversion clips instead of scaling."""
    values = np.asarray(picture, dtype=np.float64)
    if picture.mode.startswith("I"):
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
    else:
        top = float(values.max(initial=0)) or 1.0
    scaled = np.clip(np.nan_to_num(values) / top, 0, 1) * 255
    return Image.fromarray(scaled.round().astype(np.uint8))
