"""Pairs of the bench: one photograph, untouched and with one edit planted, degraded alike.

In: a folder of photographs (whose they are: ``telltale.lab.persons``), landmarks beside them or a
detector that finds faces. Out: ``Subject``s and, one at a time, ``Pair``s. Raises ``UsageError``
where no photograph of the folder can be used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from telltale.errors import UsageError
from telltale.lab import landmarks as marks
from telltale.lab.cutouts import held_out, matte
from telltale.lab.edits import EDITS, Donor, Twins
from telltale.lab.elsewhere import Alpha, Elsewhere
from telltale.lab.frames import Degradation, Framed, framed
from telltale.lab.landmarks import Found, Landmarks
from telltale.lab.persons import people_of
from telltale.regions import Box, Pixels, Region, regions_of

Find = Callable[[Pixels], list[Found]]
Say = Callable[[str], None]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Subject:
    """One usable photograph: where it is, whose, and its landmarks in its own pixels."""

    path: Path
    name: str
    person: str
    landmarks: Landmarks
    landmarks_from: Literal["file", "detector"]


@dataclass(frozen=True)
class Pair:
    """One pair before it is written: untouched, edited, mask (of one size) and regions."""

    twins: Twins
    regions: tuple[Region, ...]
    degradation: Degradation
    elsewhere: bool = False


def split_of(person: str) -> Split:
    """The split of a person, by hash of the id, whatever the seed.

    The shipped models are trained on ``train``, calibrated on ``val``; so no bench, of any seed,
    tests them on a person they have seen.
    """
    if not held_out(person):
        return "train"
    digest = hashlib.sha256(f"calibration/{person}".encode()).digest()
    return "val" if digest[0] % 2 == 0 else "test"


def subjects(
    faces: Path,
    find: Find | None = None,
    say: Say = lambda _: None,
    limit: int | None = None,
    listed: Path | None = None,
) -> list[Subject]:
    """The photographs of a folder that have landmarks, or in which ``find`` finds a face.

    ``find`` takes pixels (H x W x 3 uint8) and returns (type, box, score, label) as detectors do.
    With ``limit``, at most so many files are looked at, spread evenly over the folder. ``listed`` is a
    CSV file that says who is in which.
    Raises ``UsageError`` naming the folder if none is left.
    """
    paths = sorted(p for p in faces.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    people = people_of(faces, paths, listed)
    if limit is not None and limit < len(paths):
        paths = [paths[i * len(paths) // limit] for i in range(limit)]
    found: list[Subject] = []
    for path in paths:
        one = _subject(path, path.relative_to(faces).as_posix(), people[path], find)
        if one is None:
            say(f"{path.name}: no landmarks beside it and no face found; left out")
        else:
            found.append(one)
    if not found:
        raise UsageError(
            f"{faces} holds no photograph with landmarks ({len(paths)} pictures); put "
            "<stem>.landmarks.json beside them, or give a detector that finds faces"
        )
    return found


def draw(
    subject: Subject,
    kind: str,
    strength: float,
    seed: int,
    others: Sequence[Subject],
    elsewhere: Elsewhere | None = None,
) -> Pair:
    """One pair, from the arguments alone. Raises ``CannotPlant``.

    A share of them is set ``elsewhere``, which wants photographs taken before an even wall. The donor of a pasted feature is another person of ``others``, of the same split if there is
    one. A kind keeps its place and form over the strengths.
    """
    rng = np.random.default_rng(_number(seed, subject.name, kind))
    studio = framed(_photograph(subject.path), subject.landmarks, rng)
    number = _number(seed, subject.name, f"{kind}/elsewhere")
    own = studio if elsewhere is None else _moved(subject, studio, elsewhere, number)
    donor = _donor(subject, kind, others, rng)
    degradation = Degradation.drawn(rng)
    twins, where = _twins(kind, own, strength, rng, donor)
    scale = degradation.scale
    regions = _regions(own, where, scale, degradation.sized(own.pixels).shape[:2])
    return Pair(_degraded(twins, degradation), regions, degradation, own is not studio)


def _subject(path: Path, name: str, person: str, find: Find | None) -> Subject | None:
    try:
        return Subject(path, name, person, marks.beside(path), "file")
    except LookupError:
        if find is None:
            return None
    pixels = marks.photograph(path)
    regions = regions_of(find(pixels), pixels.shape[1], pixels.shape[0])
    try:
        return Subject(path, name, person, marks.from_boxes(regions), "detector")
    except LookupError:
        return None


def _moved(subject: Subject, own: Framed, elsewhere: Elsewhere, number: int) -> Framed:
    rng = np.random.default_rng(number)
    if rng.random() >= elsewhere.share:
        return own
    left, top, right, bottom = own.window
    alpha = _matte(subject.path, subject.landmarks)[top:bottom, left:right]
    return replace(own, pixels=elsewhere.moved(own.pixels, alpha, rng))


def _twins(
    kind: str, own: Framed, strength: float, rng: np.random.Generator, donor: Donor | None
) -> tuple[Twins, Box | None]:
    edit, pixels, where = EDITS[kind], own.pixels, None
    if edit.dress is not None:
        dressed = edit.dress(pixels, own.landmarks, rng)
        pixels, where = dressed.pixels, dressed.where
    planted = edit.plant(pixels, own.landmarks, strength, rng, donor, where)
    text = where if edit.cue_region == "text" else None
    return Twins(pixels, planted.pixels, planted.mask, kind, edit.cue_id, strength), text


def _degraded(twins: Twins, degradation: Degradation) -> Twins:
    real, edited = degradation.applied(twins.real), degradation.applied(twins.edited)
    size = (real.shape[1], real.shape[0])
    mask = np.asarray(cv2.resize(twins.mask, size, interpolation=cv2.INTER_AREA), np.float32)
    return Twins(real, edited, mask, twins.kind, twins.cue_id, twins.strength)


def _regions(
    own: Framed, text: Box | None, scale: float, shape: tuple[int, ...]
) -> tuple[Region, ...]:
    landmarks = own.landmarks
    found = marks.detected(landmarks)
    seen = marks.ears_visible(own.pixels, landmarks)
    found = found[:-2] + [f for f, yes in zip(found[-2:], seen, strict=True) if yes]
    if text is not None:
        found.append(("object", text, 1.0, "text"))
    scaled = [(t, _scaled(box, scale), score, label) for t, box, score, label in found]
    return tuple(regions_of(scaled, shape[1], shape[0]))


def _scaled(box: Box, scale: float) -> Box:
    return box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale


def _donor(
    subject: Subject, kind: str, others: Sequence[Subject], rng: np.random.Generator
) -> Donor | None:
    if not EDITS[kind].needs_donor:
        return None
    strangers = [o for o in others if o.person != subject.person]
    near = [o for o in strangers if split_of(o.person) == split_of(subject.person)]
    pool = near or strangers
    if not pool:
        return None
    chosen = pool[int(rng.integers(len(pool)))]
    return Donor(_photograph(chosen.path), chosen.landmarks)


def _number(seed: int, name: str, kind: str) -> int:
    digest = hashlib.sha256(f"bench/{seed}/{name}/{kind}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


_mattes: dict[Path, Alpha] = {}


def _matte(path: Path, landmarks: Landmarks) -> Alpha:
    """Of the photograph asked for last: they come in order, each with all its kinds."""
    if path not in _mattes:
        _mattes.clear()
        _mattes[path] = matte(_photograph(path), landmarks.points)
    return _mattes[path]


@lru_cache(maxsize=24)
def _photograph(path: Path) -> Pixels:
    return marks.photograph(path)
