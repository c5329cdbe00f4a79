"""Whatever way a picture is stored, it is decoded to the same upright sRGB pixels, or refused by code."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from telltale.errors import Rejected
from telltale.pictures import Limits, decode, examine, hash_distance, perceptual_hash, read_header

LIMITS = Limits(max_px=1_000_000, max_side_px=4096, min_side_px=16)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# how a camera held in each of the eight ways stores the upright picture
STORED = {
    1: lambda p: p, 2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud,
    5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2), 8: lambda p: np.rot90(p, -1),
}  # fmt: skip


def quarters() -> np.ndarray:
    """48 x 32 px: red, green / blue, white."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24], pixels[:16, 24:], pixels[16:, :24], pixels[16:, 24:] = RED, GREEN, BLUE, WHITE
    return pixels


def saved(picture: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def off(data: bytes, expected: np.ndarray) -> float:
    """Mean difference of the decoded picture from what it should be, 0 to 255."""
    pixels = decode(data)
    assert pixels.shape == expected.shape
    assert pixels.dtype == np.uint8
    return float(np.abs(pixels.astype(int) - expected.astype(int)).mean())


def code(data: bytes) -> str:
    with pytest.raises(Rejected) as refusal:
        examine(data, LIMITS)
    return refusal.value.code


@pytest.mark.parametrize(
    ("kind", "media_type", "options"),
    [
        ("JPEG", "image/jpeg", {"quality": 98, "subsampling": 0}), ("PNG", "image/png", {}),
        ("WEBP", "image/webp", {"lossless": True}), ("GIF", "image/gif", {}),
        ("BMP", "image/bmp", {}), ("TIFF", "image/tiff", {"compression": "tiff_lzw"}),
    ],
)  # fmt: skip
def test_each_accepted_format_is_read_and_named(kind: str, media_type: str, options: dict) -> None:
    data = saved(Image.fromarray(quarters()), kind, **options)
    found = examine(data, LIMITS)
    assert (found.media_type, found.width_px, found.height_px) == (media_type, 48, 32)
    assert off(data, quarters()) < 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](quarters())))
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = saved(stored, kind, exif=exif, **options)
    assert off(data, quarters()) < 2
    found = examine(data, LIMITS)
    assert (found.width_px, found.height_px) == (48, 32)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_costs_its_metadata_not_the_picture() -> None:
    for exif in (
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
    ):
        data = saved(Image.fromarray(quarters()), "JPEG", quality=98, subsampling=0, exif=exif)
        assert off(data, quarters()) < 2


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_read(kind: str) -> None:
    other = Image.new("RGB", (48, 32), "black")
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    first = Image.fromarray(quarters())
    data = saved(first, kind, save_all=True, append_images=[other, other], **options)
    assert off(data, quarters()) < 2


def test_a_multi_picture_jpeg_is_a_jpeg() -> None:
    other = Image.new("RGB", (48, 32), "black")
    first = Image.fromarray(quarters())
    data = saved(first, "MPO", save_all=True, append_images=[other], quality=98, subsampling=0)
    assert examine(data, LIMITS).media_type == "image/jpeg"
    assert off(data, quarters()) < 3


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    data = saved(Image.fromarray(quarters()).convert("CMYK"), "JPEG", quality=98)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert off(data, quarters()) < 8  # chroma is subsampled at the borders


def test_a_ycck_jpeg_keeps_its_colours() -> None:
    # libjpeg: YCbCr of R=1-C, G=1-M, B=1-Y, and Adobe stores C, M and Y inverted. Pillow writes
    # none, so its four channels are filled by hand and Adobe's mark, which says how to read them,
    # is set to 2.
    ycc = np.asarray(Image.fromarray(255 - quarters()).convert("YCbCr"))
    raw = np.dstack([ycc, np.full((32, 48), 255, np.uint8)])
    data = bytearray(saved(Image.fromarray(255 - raw, "CMYK"), "JPEG", quality=98))
    mark = data.index(b"Adobe")
    data[mark + 11] = 2
    assert off(bytes(data), quarters()) < 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    grey = np.linspace(0, 65535, 48 * 32).reshape(32, 48).astype(np.uint16)
    expected = np.dstack([(grey / 257).round().astype(np.uint8)] * 3)
    assert off(saved(Image.fromarray(grey), kind), expected) <= 1


def test_a_dark_sixteen_bit_picture_stays_dark() -> None:
    assert decode(saved(Image.fromarray(np.full((32, 32), 200, np.uint16)), "PNG")).max() <= 1


def test_sixteen_bit_colour_is_read() -> None:
    import cv2  # Pillow writes no 16-bit colour

    wide = cv2.cvtColor(quarters(), cv2.COLOR_RGB2BGR).astype(np.uint16) * 257
    for extension in (".png", ".tiff"):
        _, data = cv2.imencode(extension, wide)
        assert off(data.tobytes(), quarters()) <= 1


def test_floats_from_nought_to_one_span_black_to_white() -> None:
    ramp = np.linspace(0, 1, 48 * 32, dtype=np.float32).reshape(32, 48)
    ramp[0, :3] = (np.nan, np.inf, -np.inf)
    expected = np.dstack([(np.nan_to_num(ramp, posinf=0, neginf=0) * 255).round()] * 3)
    assert off(saved(Image.fromarray(ramp), "TIFF"), expected) <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    picture = Image.new("RGBA", (32, 32), (0, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 16, 32))
    if mode == "P":
        picture = Image.new("P", (32, 32), 1)
        picture.putpalette([200, 0, 0, 0, 0, 0])
        picture.paste(0, (0, 0, 16, 32))
        picture.info["transparency"] = 0
    data = saved(picture if mode == "P" else picture.convert(mode), "PNG")
    pixels = decode(data)
    assert (pixels[:, :16] == 255).all()
    assert (pixels[:, 16:] == 0).all()


def test_one_bit_and_grey_pictures_are_read() -> None:
    half = np.zeros((32, 32), np.uint8)
    half[:, 16:] = 255
    for mode in ("1", "L"):
        assert off(saved(Image.fromarray(half).convert(mode), "PNG"), np.dstack([half] * 3)) == 0


def test_a_display_p3_picture_is_converted_to_srgb() -> None:
    profile = p3_profile()
    # the P3 coordinates of sRGB's (200, 100, 50), from the two published matrices
    p3 = np.full((32, 32, 3), (187, 107, 62), np.uint8)
    data = saved(Image.fromarray(p3), "PNG", icc_profile=profile)
    assert np.abs(decode(data)[16, 16].astype(int) - (200, 100, 50)).max() <= 3


def test_a_profile_that_is_none_is_ignored() -> None:
    for profile in (b"garbage", b"\0" * 200, p3_profile()[:150]):
        data = saved(Image.fromarray(quarters()), "PNG", icc_profile=profile)
        assert off(data, quarters()) == 0


def p3_profile() -> bytes:
    """Pillow's own sRGB profile with Display P3's primaries (D50-adapted, s15Fixed16)."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }  # fmt: skip
    count = int.from_bytes(data[128:132], "big")
    for n in range(count):
        entry = data[132 + 12 * n : 144 + 12 * n]
        if bytes(entry[:4]) in primaries:
            at = int.from_bytes(entry[4:8], "big") + 8
            for value in primaries[bytes(entry[:4])]:
                data[at : at + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
                at += 4
    return bytes(data)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((8, 100), "dimensions"), ((5000, 100), "dimensions"), ((1200, 1200), "decompression_bomb")],
)
def test_sizes_outside_the_limits_are_refused(size: tuple[int, int], expected: str) -> None:
    assert code(saved(Image.new("L", size), "PNG")) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"hello, this is no picture", "not_an_image"),
        (b"<!DOCTYPE html><img src=x>", "not_an_image"),
        (b"%PDF-1.7\n1 0 obj", "not_an_image"),
        (b"PK\x03\x04" + bytes(60), "not_an_image"),
        (bytes(4096), "not_an_image"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "format_unsupported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "format_unsupported"),
        (b"\0\0\0\x1cftypheic" + bytes(40), "format_unsupported"),
        (b"\xff\x0a" + bytes(40), "format_unsupported"),
    ],
)
def test_what_is_no_photograph_is_refused_by_name(data: bytes, expected: str) -> None:
    assert code(data) == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_picture_cut_short_is_called_truncated(kind: str, share: float) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    data = saved(Image.fromarray(noise), kind)
    assert code(data[: int(len(data) * share)]) == "truncated"


def test_the_header_is_read_without_decoding() -> None:
    data = saved(Image.new("RGB", (640, 480)), "PNG")
    broken = data[:41] + b"no pixels here"
    assert read_header(broken, LIMITS).width_px == 640
    assert code(broken) == "truncated"


def test_the_perceptual_hash_survives_recompression_and_tells_pictures_apart() -> None:
    from skimage import data

    picture = Image.fromarray(data.astronaut())
    again = decode(saved(picture.resize((300, 300)), "JPEG", quality=60))
    other = decode(saved(Image.fromarray(data.chelsea()), "PNG"))
    first = perceptual_hash(np.asarray(picture))
    assert len(first) == 16
    assert hash_distance(first, perceptual_hash(again)) <= 4
    assert hash_distance(first, perceptual_hash(other)) > 16
