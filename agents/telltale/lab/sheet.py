"""The contact sheet: every kind of edit, untouched and at three strengths, for eyes to judge.

In: a folder of photographs. Out: a PNG. A kind is shown on the first photograph that lends itself
to it, cut to where the edit is. Raises ``UsageError`` where no photograph of the folder is usable.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from telltale.lab.edits import EDITS, STRENGTHS, CannotPlant
from telltale.lab.pairs import Find, Pair, Subject, draw, subjects
from telltale.regions import Pixels

TILE_PX = 240
LOOKED_AT = 24
"""Photographs looked at: enough for an open mouth and a bare ear, few enough to be quick."""


def contact_sheet(faces: Path, seed: int = 0, find: Find | None = None) -> bytes:
    """Two columns of rows: kind; untouched, subtle, medium, plain. PNG bytes."""
    people = subjects(faces, find, limit=LOOKED_AT)
    order = np.random.default_rng(seed).permutation(len(people))
    rows = []
    for kind in EDITS:
        for at in order:
            try:
                rows.append(_row(people[int(at)], kind, seed, people))
                break
            except CannotPlant:
                continue
    if len(rows) % 2:
        rows.append(np.full_like(rows[0], 255))
    half = len(rows) // 2
    sheet = np.hstack([np.vstack(rows[:half]), np.vstack(rows[half:])])
    ok, data = cv2.imencode(".png", sheet[..., ::-1])
    if not ok:
        raise RuntimeError("the PNG encoder refused the contact sheet")
    return bytes(data.tobytes())


def _row(subject: Subject, kind: str, seed: int, people: list[Subject]) -> Pixels:
    pairs = [draw(subject, kind, strength, seed, people) for strength in STRENGTHS]
    y0, y1, x0, x1 = _around_mask(pairs[-1])
    pictures = [pairs[0].twins.real, *(p.twins.edited for p in pairs)]
    tiles = [
        cv2.resize(p[y0:y1, x0:x1], (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC)
        for p in pictures
    ]
    row = np.hstack(tiles)
    title = np.full((18, row.shape[1], 3), 255, dtype=np.uint8)
    text = f"{kind}  {EDITS[kind].cue_id}  untouched | {' | '.join(map(str, STRENGTHS))}"
    cv2.putText(title, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.asarray(np.vstack([title, row]), dtype=np.uint8)


def _around_mask(pair: Pair) -> tuple[int, int, int, int]:
    """A square of whole pixels around the edit, half as large again: of one iris where both are edited."""
    mask = pair.twins.mask
    height, width = mask.shape
    touched = mask > 0
    if EDITS[pair.twins.kind].cue_region == "iris":
        count, parts, sizes, _ = cv2.connectedComponentsWithStats(touched.astype(np.uint8))
        if count > 1:
            touched = parts == 1 + int(np.argmax(sizes[1:, cv2.CC_STAT_AREA]))
    ys, xs = np.nonzero(touched)
    side = int(1.4 * max(np.ptp(ys), np.ptp(xs))) + 16
    side = min(side, height, width)
    y0 = int(np.clip((ys.min() + ys.max() - side) // 2, 0, height - side))
    x0 = int(np.clip((xs.min() + xs.max() - side) // 2, 0, width - side))
    return y0, y0 + side, x0, x0 + side
