"""Pictures for people: saliency over a crop, regions and claims over the whole.

In: pixels (H x W x 3 uint8), heat (h x w float 0 to 1), regions and claims. Out: JPEG bytes of a
heat map or an overview, the same for the same input.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from telltale.events import Claim, Region
from telltale.regions import Pixels

# Perceptually ordered from dark to light (the inferno map at five even steps), readable by the
# colour-blind and in print.
STOPS = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]])
LEVELS = 256
_STRENGTH = np.linspace(0, 1, LEVELS)
COLOUR_RAMPS = tuple(
    np.interp(_STRENGTH, np.linspace(0, 1, len(STOPS)), channel).astype(int) for channel in STOPS.T
)
OPACITY_RAMP = (255 * 0.75 * _STRENGTH**0.7).astype(int)
COLOURS = {"artifact": "#d1495b", "natural": "#2e7d32", "undecidable": "#e0a100"}
OVERVIEW_PX = 900
MAP_PX = 384


def heat_over(pixels: Pixels, heat: NDArray[np.float32]) -> bytes:
    """The heat laid over the crop; transparent where it is nought."""
    size = (MAP_PX, MAP_PX)
    grey = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert("L")
    scaled = Image.fromarray(np.float32(heat)).resize(size, Image.Resampling.BILINEAR)
    levels = np.rint(np.clip(np.asarray(scaled), 0, 1) * (LEVELS - 1)).astype(np.uint8)
    strength = Image.fromarray(levels)
    colour = Image.merge("RGB", [strength.point(list(ramp)) for ramp in COLOUR_RAMPS])
    return _jpeg(Image.composite(colour, grey.convert("RGB"), strength.point(list(OPACITY_RAMP))))


def overview(pixels: Pixels, regions: Sequence[Region], claims: Sequence[Claim]) -> bytes:
    """The picture with its regions; those with claims in the colour of what is shown there."""
    height, width = pixels.shape[:2]
    shrink = min(1.0, OVERVIEW_PX / max(height, width))
    picture = Image.fromarray(pixels).resize(
        (max(1, round(width * shrink)), max(1, round(height * shrink))),
        Image.Resampling.BILINEAR,
        reducing_gap=2.0,
    )
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(14)
    claimed = {c.region_id: c for c in sorted(claims, key=lambda c: c.probability)}
    for region in regions:
        if region.type == "image" or (region.face is None and region.region_id not in claimed):
            continue
        claim = claimed.get(region.region_id)
        if claim is None and region.type not in ("face", "eye", "nose", "mouth", "ear"):
            continue
        colour = COLOURS[shown(claim)] if claim else "#9fb3c8"
        box = tuple(v * shrink for v in region.box_px)
        draw.rectangle(box, outline=colour, width=3 if claim else 1)
        if claim and claim.named:  # all of them would hide the picture
            label = f"{claim.cue_id} {claim.probability:.2f}"
            at = (max(0, box[0]), max(0, box[1] - 17))
            draw.rectangle(draw.textbbox(at, label, font=font), fill=colour)
            draw.text(at, label, fill="white", font=font)
    return _jpeg(picture)


def shown(claim: Claim) -> str:
    """What the picture shows there, whatever was claimed."""
    if claim.status == "undecidable":
        return "undecidable"
    other = "natural" if claim.polarity == "artifact" else "artifact"
    return claim.polarity if claim.status == "supported" else other


def _jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    # they are mostly photograph: a PNG is several times as large and takes longer to write
    picture.save(out, "JPEG", quality=90, subsampling=0)
    return out.getvalue()
