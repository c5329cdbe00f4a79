"""Photographs that nobody took for this product: what detector and stages say of them untouched.

In: the photographs that installed packages carry, the stages. Out: one row a photograph, and the
share called manipulated (each is untouched, so each such call is a false alarm). Photographs whose
package is not installed are left out. Those without people stood behind the composites that the
mini detector was trained on; its answers on them are not those of a stranger, and say so.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from telltale.lab.cutouts import NO_PEOPLE
from telltale.lab.pipeline import Judged, Pipeline
from telltale.lab.statistics import bootstrap

PEOPLE: dict[str, int] = {
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg": 1,
    "skimage/data/astronaut.png": 1,
    "skimage/data/camera.png": 1,
    "ultralytics/assets/bus.jpg": 2,
    "ultralytics/assets/zidane.jpg": 2,
}
"""Faces that a person sees in each, counted by eye; heads turned away or cut off are none."""
NOBODY = (*NO_PEOPLE, "skimage/data/cell.png", "skimage/data/moon.png", "skimage/data/motorcycle_right.png")  # fmt: skip


def photographs() -> list[tuple[str, Path, int]]:
    """Name, path and number of faces of every photograph that is installed, by name."""
    listed = PEOPLE | dict.fromkeys(NOBODY, 0)
    found = []
    for name in sorted(listed):
        package, _, rest = name.partition("/")
        spec = find_spec(package)
        path = Path(spec.origin).parent / rest if spec and spec.origin else None
        if path is not None and path.is_file():
            found.append((name, path, listed[name]))
    return found


def evaluate_outside(pipeline: Pipeline) -> dict[str, Any]:
    """The answers, and their sum: see the module."""
    known = photographs()
    judged = pipeline.run(path.read_bytes() for _, path, _ in known)
    rows = [_row(n, faces, j) for (n, _, faces), j in zip(known, judged, strict=True)]
    names = [str(r["photograph"]) for r in rows]
    alarms = [float(r["verdict"] == "manipulated") for r in rows]
    share = bootstrap(lambda r: float(sum(alarms[n] for n in r)) / len(r), names)
    return {
        "called_manipulated": share.as_json(),
        "photographs": len(rows),
        "faces": sum(r["faces"] for r in rows),
        "faces_missed": sum(max(0, r["faces"] - r["faces_found"]) for r in rows),
        "faces_too_many": sum(max(0, r["faces_found"] - r["faces"]) for r in rows),
        "rows": rows,
    }


def _row(name: str, faces: int, judged: Judged) -> dict[str, Any]:
    verdict, event = judged.verdict.verdict, judged.judgment
    return {
        "photograph": name,
        "faces": faces,
        "faces_found": event.detection.faces_found if event else 0,
        "behind_training_composites": name in NO_PEOPLE,
        "verdict": verdict.verdict,
        "probability": verdict.probability,
        "reasons": list(verdict.reasons),
    }
