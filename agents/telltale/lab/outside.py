"""Photographs that nobody took for this product: what detector and stages say of them untouched.

In: the photographs that installed packages carry, a detector, the stages. Out: one row a photograph:
which of its faces are found, and how many "faces" are none; and the share called manipulated (each is
untouched, so each such call is a false alarm). Photographs whose package is not installed are left
out. Those without people stood behind the composites that the mini detector was trained on; its
answers on them are not those of a stranger, and say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from telltale.lab import landmarks as marks
from telltale.lab.composites import CLASSES
from telltale.lab.cutouts import NO_PEOPLE
from telltale.lab.pipeline import Judged, Pipeline
from telltale.lab.precision import compared
from telltale.lab.statistics import bootstrap
from telltale.models import Detector, Found
from telltale.regions import Box

PEOPLE: dict[str, tuple[Box, ...]] = {
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg": ((168, 165, 352, 336),),
    "skimage/data/astronaut.png": ((180, 86, 266, 182),),
    "skimage/data/camera.png": ((198, 138, 255, 197),),
    "ultralytics/assets/bus.jpg": ((113, 428, 155, 472), (269, 437, 304, 474)),
    "ultralytics/assets/zidane.jpg": ((535, 300, 662, 452), (908, 150, 1058, 290)),
}
"""The faces that a person sees in each, drawn by hand: brow line to chin, cheek to cheek (in profile
from the ear to the tip of the nose). Heads turned away or cut off are none."""
NOBODY = (*NO_PEOPLE, "skimage/data/cell.png", "skimage/data/moon.png", "skimage/data/motorcycle_right.png")  # fmt: skip
OVERLAP = 0.4
"""Of a found box with a drawn one to be that face. Less than the usual 0.5: where a cheek ends on a
turned head, two who draw it differ by a quarter of the face."""


def photographs() -> list[tuple[str, Path, tuple[Box, ...]]]:
    """Name, path and faces of every photograph that is installed, by name."""
    listed: dict[str, tuple[Box, ...]] = PEOPLE | dict.fromkeys(NOBODY, ())
    found = []
    for name in sorted(listed):
        package, _, rest = name.partition("/")
        spec = find_spec(package)
        path = Path(spec.origin).parent / rest if spec and spec.origin else None
        if path is not None and path.is_file():
            found.append((name, path, listed[name]))
    return found


def faces_outside(detector: Detector) -> dict[str, Any]:
    """By place, not by number: the faces found and missed, and the findings that are no face.

    Each drawn face counts once, for the surest box that overlaps it by ``OVERLAP``.
    """
    rows = {
        name: told_apart(faces, detector.detect([marks.photograph(path)])[0])
        for name, path, faces in photographs()
    }
    sums = {k: sum(row[k] for row in rows.values()) for k in told_apart((), ())}
    return {
        "photographs": len(rows), "overlap": OVERLAP, **sums,
        "rows": [{"photograph": name, **row} for name, row in rows.items()],
    }  # fmt: skip


def told_apart(faces: Sequence[Box], found: Sequence[Found]) -> dict[str, int]:
    """How many of the drawn faces are found, how many missed, and how many findings are none of them."""
    labels = np.array([(CLASSES.index("face"), *box) for box in faces], np.float32).reshape(-1, 5)
    hits = compared(labels, found, OVERLAP).found[CLASSES.index("face")][:, 1]
    right = int(hits.sum())
    return {
        "faces": len(faces), "faces_found": right, "faces_missed": len(faces) - right,
        "faces_false": len(hits) - right,
    }  # fmt: skip


def evaluate_outside(pipeline: Pipeline, detector: Detector) -> dict[str, Any]:
    """The answers, and their sum: see the module."""
    known = photographs()
    judged = pipeline.run(path.read_bytes() for _, path, _ in known)
    seen = faces_outside(detector)
    rows = [row | _answer(j) for row, j in zip(seen["rows"], judged, strict=True)]
    names = [str(r["photograph"]) for r in rows]
    alarms = [float(r["verdict"] == "manipulated") for r in rows]
    share = bootstrap(lambda r: float(sum(alarms[n] for n in r)) / len(r), names)
    return {"called_manipulated": share.as_json()} | seen | {
        "rows": [r | {"behind_training_composites": r["photograph"] in NO_PEOPLE} for r in rows]
    }  # fmt: skip


def _answer(judged: Judged) -> dict[str, Any]:
    verdict = judged.verdict.verdict
    return {
        "verdict": verdict.verdict,
        "probability": verdict.probability,
        "reasons": list(verdict.reasons),
    }
