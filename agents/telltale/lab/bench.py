"""The bench: real photographs, each paired with twins in which one edit is planted.

In: a folder of photographs (whose they are: ``telltale.lab.persons``), landmarks beside them or a
detector that finds faces. Out: a folder with JPEGs, PNG masks and ``manifest.jsonl``,
one line a picture. The two pictures of a pair have the same frame, size, blur and JPEG quality
and differ in the edit alone. The same seed, photographs and library versions give the same bytes.
Raises ``UsageError`` where no photograph of the folder can be used.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from telltale.lab.edits import EDITS, STRENGTHS, CannotPlant
from telltale.lab.elsewhere import Elsewhere
from telltale.lab.frames import encoded
from telltale.lab.pairs import Find, Pair, Say, Split, Subject, draw, split_of, subjects
from telltale.lab.people import PEOPLE, people_file
from telltale.lab.sheet import contact_sheet

__all__ = [
    "MANIFEST", "Find", "Pair", "Say", "Split", "Subject", "build", "contact_sheet", "draw",
    "recompressed", "shortcut_rows", "split_of", "subjects",
]  # fmt: skip

MANIFEST = "manifest.jsonl"
FEW = 12
"""Up to so many photographs, each gets every kind at all three strengths; beyond, at one."""

ALONE = "it is pasted from another person, and all photographs count as one's; say who is in which with --people"


def build(
    faces: Path,
    out: Path,
    seed: int = 0,
    find: Find | None = None,
    say: Say = lambda _: None,
    kinds: Sequence[str] = tuple(EDITS),
    every_strength: bool | None = None,
    elsewhere: float = 0.0,
    listed: Path | None = None,
) -> list[dict[str, Any]]:
    """Build a bench in ``out`` and return the rows of its manifest.

    Every photograph is paired with a twin of every kind it lends itself to: at all three
    strengths if ``every_strength`` (by default where there are at most ``FEW`` photographs), else
    at one, turned so that each kind is seen at each strength over three photographs.
    A share ``elsewhere`` of the pairs gets another place, light and camera before anything is planted,
    and says so in the manifest. ``listed`` is a CSV file that says who is in which. ``say`` gets a line of progress now and then. Raises ``UsageError``.
    """
    people = subjects(faces, find, say, listed=listed)
    persons = {s.person for s in people}
    say(f"{len(people)} photographs of {_counted(persons)}")
    places = Elsewhere.packaged(elsewhere) if elsewhere else None
    everything = len(people) <= FEW if every_strength is None else every_strength
    for folder in ("pictures", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    refused: dict[str, int] = {}
    for n, subject in enumerate(people):
        for k, kind in enumerate(kinds):
            for strength in STRENGTHS if everything else (STRENGTHS[(n + k) % 3],):
                try:
                    pair = draw(subject, kind, strength, seed, people, places)
                except CannotPlant:
                    refused[kind] = refused.get(kind, 0) + 1
                    continue
                rows += _written(out, subject, pair)
        if n % 10 == 9 or n + 1 == len(people):
            say(f"{n + 1} of {len(people)} photographs, {len(rows) // 2} pairs")
    for kind, count in sorted(refused.items()):
        alone = EDITS[kind].needs_donor and len(persons) == 1
        why = ALONE if alone else "the photograph does not lend itself to it"
        say(f"{kind}: {count} pairs left out, {why}")
    _write_people(faces, out, persons)
    (out / MANIFEST).write_text("".join(json.dumps(r, sort_keys=True) + "\n" for r in rows))
    return rows


def shortcut_rows(rows: Sequence[dict[str, Any]], seed: int = 0) -> Iterator[tuple[str, str, int]]:
    """Checks that must end at AUROC .5: (check, picture file, label) triples.

    ``recompressed``: the untouched picture of each pair (0) and the same file to be sent through
    ``recompressed`` below (1). ``random labels``: all pictures, labels drawn at random.
    """
    rng = np.random.default_rng(seed)
    for row in rows:
        if row["label"] == 0:
            yield "recompressed", row["file"], 0
            yield "recompressed", row["file"], 1
        yield "random labels", row["file"], int(rng.integers(2))


def recompressed(data: bytes, seed: int) -> bytes:
    """A picture sent once more through JPEG at a quality drawn from ``seed`` (60 to 98)."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    quality = int(np.random.default_rng(seed).integers(60, 99))
    return encoded(np.ascontiguousarray(np.asarray(pixels)[..., ::-1]), quality)


def _counted(persons: set[str]) -> str:
    """How many people, and in which splits they fall."""
    splits = Counter(split_of(p) for p in persons)
    return f"{len(persons)} people ({', '.join(f'{n} {split}' for split, n in sorted(splits.items()))})"


def _write_people(faces: Path, out: Path, wanted: set[str]) -> None:
    """The lines of ``people.csv`` on people of the bench, so that errors can be told by group."""
    path = people_file(faces)
    if path is not None:
        head, *lines = path.read_text(encoding="utf-8-sig").splitlines()
        kept = [line for line in lines if line.split(",")[0] in wanted]
        (out / PEOPLE).write_text("\n".join([head, *kept]) + "\n", encoding="utf-8")


def _written(out: Path, subject: Subject, pair: Pair) -> list[dict[str, Any]]:
    """Write the two pictures and the mask of a pair; their manifest rows, real one first."""
    twins = pair.twins
    name = f"{Path(subject.name).with_suffix('').as_posix().replace('/', '~')}-{twins.kind}"
    name += f"-{round(100 * twins.strength):03d}"
    mask = f"masks/{name}.png"
    ok, png = cv2.imencode(".png", np.rint(twins.mask * 255).astype(np.uint8))
    if not ok:
        raise RuntimeError(f"the PNG encoder refused {mask}")
    (out / mask).write_bytes(png.tobytes())
    shared: dict[str, Any] = {
        "pair": name, "kind": twins.kind, "person": subject.person,
        "split": split_of(subject.person), "photograph": subject.name,
        "landmarks_from": subject.landmarks_from, "degradation": asdict(pair.degradation),
        "regions": [
            {"region_id": r.region_id, "type": r.type, "box_px": [round(v, 2) for v in r.box_px]}
            for r in pair.regions
        ],
    }  # fmt: skip
    if pair.elsewhere:
        shared["elsewhere"] = True
    rows = []
    for label, pixels in ((0, twins.real), (1, twins.edited)):
        file = f"pictures/{name}-{('real', 'edited')[label]}.jpg"
        data = encoded(pixels, pair.degradation.quality)
        (out / file).write_bytes(data)
        planted = {"cue_id": twins.cue_id, "strength": twins.strength, "mask": mask}
        own = planted if label else dict.fromkeys(planted)
        sha = hashlib.sha256(data).hexdigest()
        rows.append({"file": file, "label": label, "sha256": sha, **own, **shared})
    return rows
