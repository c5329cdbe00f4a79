"""Pictures made to harm: each costs its uploader a rejection, and us bounded time and memory."""

from __future__ import annotations

import io
import os
import resource
import signal
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from telltale.errors import Rejected
from telltale.events import RejectionCode
from telltale.pictures import Examined, Limits, examine
from telltale.stages.examining import Examiner

LIMITS = Limits(max_px=4_000_000, max_side_px=16_384, min_side_px=16)


@pytest.fixture(scope="module")
def examiner() -> Iterator[Examiner]:
    found = Examiner(LIMITS, processes=1, cpu_s=2)
    yield found
    found.close()


def saved(kind: str, picture: Image.Image | None = None, **options) -> bytes:
    out = io.BytesIO()
    (picture or Image.linear_gradient("L").resize((40, 32)).convert("RGB")).save(
        out, kind, **options
    )
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, pixels: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")  # fmt: skip


def deflated(megabytes: int) -> bytes:
    pack = zlib.compressobj(9)
    return b"".join(pack.compress(bytes(1 << 20)) for _ in range(megabytes)) + pack.flush()


def pid_of(examiner: Examiner) -> int:
    """The process of an examiner that has one, idle."""
    (child,) = [c for c in examiner._idle.queue if c is not None]
    return child._process.pid


def code(examiner: Examiner, data: bytes) -> str:
    with pytest.raises(Rejected) as refusal:
        examiner.examine(data)
    return refusal.value.code


def huge_headers() -> dict[str, bytes]:
    gif = bytearray(saved("GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp = bytearray(saved("BMP"))
    bmp[18:26] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    jpeg = bytearray(saved("JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65535, 65535)
    webp = b"VP8X" + struct.pack("<IB3x", 10, 0x10) + b"\xfe\x3f\0" * 2
    return {
        "png": png(2**31 - 1, 2**31 - 1), "png-both-sides-allowed": png(16_000, 16_000),
        "gif": bytes(gif), "bmp": bytes(bmp), "jpeg": bytes(jpeg),
        "webp": b"RIFF" + struct.pack("<I", 4 + len(webp)) + b"WEBP" + webp,
        "tiff": saved("TIFF", Image.new("1", (16_000, 16_000)), compression="group4"),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(huge_headers()))
def test_a_header_that_claims_too_much_is_refused_before_any_pixel(
    examiner: Examiner, name: str
) -> None:
    started = time.process_time()
    with pytest.raises(Rejected) as refusal:
        examine(huge_headers()[name], LIMITS)
    assert refusal.value.code in ("dimensions", "decompression_bomb"), str(refusal.value)
    assert time.process_time() - started < 1


def test_a_huge_png_with_matching_pixels_is_a_bomb(examiner: Examiner) -> None:
    assert code(examiner, png(16_000, 16_000, pixels=deflated(8))) == "decompression_bomb"


def test_pixels_beyond_the_size_are_never_unpacked(examiner: Examiner) -> None:
    data = png(64, 64, pixels=deflated(96))
    started = time.monotonic()
    assert examiner.examine(data).width_px == 64
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"iCCP", b"profile\0\0" + deflated(16)),
        chunk(b"zTXt", b"Comment\0\0" + deflated(16)),
        chunk(b"iTXt", b"Comment\0\x01\0\0\0" + deflated(16)),
    ],
    ids=["profile", "text", "international text"],
)
def test_compressed_metadata_that_unpacks_to_much_is_a_bomb(
    examiner: Examiner, extra: bytes
) -> None:
    data = png(64, 64, extra, pixels=deflated(1))
    assert code(examiner, data) == "decompression_bomb"


def many_scans(scans: int) -> bytes:
    """A progressive JPEG of 3.9 Mpx whose last, nearly empty scan is repeated."""
    data = saved("JPEG", Image.new("RGB", (2000, 1950), "grey"), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def test_a_jpeg_of_very_many_scans_is_cut_off(examiner: Examiner) -> None:
    data = many_scans(1500)
    assert len(data) < 25 * 1024 * 1024
    assert code(examiner, data) == "decompression_bomb"
    assert isinstance(examiner.examine(saved("JPEG")), Examined), "the next picture is decoded"


def test_a_picture_that_needs_too_much_memory_is_a_bomb() -> None:
    tight = Examiner(Limits(max_px=30_000_000, max_side_px=16_384, min_side_px=16), processes=1)
    tight.examine(saved("PNG"))
    pid = pid_of(tight)
    now = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (now + 20_000_000,) * 2)
    big = saved("PNG", Image.new("RGB", (5000, 5000)))
    assert code(tight, big) == "decompression_bomb"
    assert tight.examine(saved("PNG")).width_px == 40, "and the process goes on"
    tight.close()


def test_a_picture_that_takes_too_long_on_the_clock_is_a_bomb() -> None:
    hasty = Examiner(LIMITS, processes=1, wall_s=0.2)
    assert code(hasty, many_scans(300)) == "decompression_bomb"
    hasty.close()


def test_a_lost_process_is_replaced_and_the_picture_tried_again() -> None:
    fragile = Examiner(LIMITS, processes=1)
    fragile.examine(saved("PNG"))
    os.kill(pid_of(fragile), signal.SIGKILL)
    assert fragile.examine(saved("PNG")).width_px == 40
    fragile.close()


def test_the_decoding_process_has_no_secrets_and_few_files(examiner: Examiner, monkeypatch) -> None:
    monkeypatch.setenv("TELLTALE_KAFKA_PASSWORD", "hunter2")
    fresh = Examiner(LIMITS, processes=1)
    fresh.examine(saved("PNG"))
    process = Path(f"/proc/{pid_of(fresh)}")
    assert b"hunter2" not in (process / "environ").read_bytes()
    assert len(list((process / "fd").iterdir())) <= 8
    fresh.close()


def test_a_picture_with_a_program_behind_it_is_only_ever_a_picture(examiner: Examiner) -> None:
    for tail in (b"PK\x03\x04zip", b"<script>alert(1)</script>", b"%PDF-1.7"):
        assert examiner.examine(saved("JPEG") + tail).media_type == "image/jpeg"
    assert code(examiner, b"<html>" + saved("JPEG")) == "not_an_image"


def test_an_animation_of_very_many_frames_costs_its_first(examiner: Examiner) -> None:
    gif = saved("GIF", Image.new("P", (32, 32)))
    frame = gif[gif.index(b"\x2c") : -1]
    started = time.monotonic()
    assert examiner.examine(gif[:-1] + frame * 200_000 + b";").media_type == "image/gif"
    assert time.monotonic() - started < 20


SEEDS = {
    "jpeg": saved("JPEG"), "progressive": saved("JPEG", progressive=True), "png": saved("PNG"),
    "palette": saved("PNG", Image.new("P", (32, 32), 1)), "webp": saved("WEBP"), "gif": saved("GIF"),
    "lossless": saved("WEBP", lossless=True), "bmp": saved("BMP"), "tiff": saved("TIFF"),
    "lzw": saved("TIFF", compression="tiff_lzw"), "deflate": saved("TIFF", compression="tiff_adobe_deflate"),
    "grey16": saved("PNG", Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32))),
    "apng": saved("PNG", save_all=True, append_images=[Image.new("RGB", (40, 32))]),
    "cmyk": saved("JPEG", Image.new("CMYK", (32, 32))),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", sorted(SEEDS))
@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8
    ),
    keep=st.floats(0.05, 1),
)
def test_damaged_pictures_are_decoded_or_refused_and_nothing_else(
    examiner: Examiner, seed: str, edits: list[tuple[float, int]], keep: float
) -> None:
    data = bytearray(SEEDS[seed][: int(len(SEEDS[seed]) * keep)])
    for at, value in edits:
        data[int(at * len(data))] = value
    try:
        found = examiner.examine(bytes(data))
    except Rejected as refusal:
        found = refusal
    if isinstance(found, Rejected):
        assert found.code in get_args(RejectionCode)
    else:
        assert found.width_px >= LIMITS.min_side_px
