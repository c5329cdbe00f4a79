"""What one picture shows at two sizes, put together: small faces from the large, large from the small.

In: findings of one network at both sizes, boxes in px of the picture. Out: one list. Pure functions.
A network trained on small canvases draws the boxes of a face that fills its input too small and
misses such a face's parts; shown the same picture smaller, it does neither.
"""

from __future__ import annotations

from collections.abc import Sequence

from telltale.models import Found
from telltale.regions import Box, overlap, owner

SAME = 0.5
"""Faces that overlap more (IoU) are one."""

SLACK = 1.25
"""By this factor both sizes may answer for a face near the border between them; the surer is kept."""


def merged(fine: Sequence[Found], coarse: Sequence[Found], large_px: float) -> list[Found]:
    """Faces whose longer side is at least ``large_px`` as ``coarse`` has them, others as ``fine``.

    A large face that ``coarse`` lacks is taken from ``fine``. Parts come with their face; of parts
    in no face, and of other objects, those of ``fine`` are kept.
    """
    small = [f for f in fine if f[0] == "face"]
    large = [f for f in coarse if f[0] == "face" and _side_px(f) >= large_px / SLACK]
    ranked = [(_side_px(f) > large_px * SLACK, -f[2], False, f) for f in small]
    ranked += [(False, -f[2], True, f) for f in large]
    faces: list[Found] = []
    from_coarse: list[bool] = []
    for _, _, is_coarse, face in sorted(ranked, key=lambda r: r[:2]):
        if all(overlap(face[1], other[1]) < SAME for other in faces):
            faces.append(face)
            from_coarse.append(is_coarse)
    boxes: list[Box] = [f[1] for f in faces]

    def belongs(part: Found) -> bool:
        """Whether it lies in a face that ``coarse`` answers for."""
        face = owner(part[1], boxes)
        return face is not None and from_coarse[face]

    parts = [f for f in fine if f[0] != "face" and not belongs(f)]
    parts += [f for f in coarse if f[0] not in ("face", "object") and belongs(f)]
    parts += [f for f in fine if f[0] == "object" and belongs(f)]
    return faces + parts


def _side_px(found: Found) -> float:
    box = found[1]
    return max(box[2] - box[0], box[3] - box[1])
