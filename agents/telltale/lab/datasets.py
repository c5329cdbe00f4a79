"""One dataset object for every source: the bench, published sets on their owners' disks, a CSV.

In: a layout's name and a folder (or a CSV file). Out: a list of ``Sample``, in a fixed order;
pixels are read only when asked for. Videos give ``FRAMES_PER_VIDEO`` frames spread evenly over
their length, decoded by OpenCV and handed on as PNG. Raises ``UsageError`` naming the folder and
the layout that was expected.

The layouts are those in which the sets are published: FaceForensics++ (Roessler et al. 2019),
Celeb-DF v2 (Li et al. 2020), DF40 (Yan et al. 2024), GenImage (Zhu et al. 2023).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.errors import UsageError

Layout = Literal["bench", "faceforensics", "celeb-df", "df40", "genimage", "csv"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
FRAMES_PER_VIDEO = 8

EXPECTED: dict[Layout, str] = {
    "bench": "manifest.jsonl beside pictures/ and masks/, as 'telltale lab bench build' writes them",
    "faceforensics": (
        "original_sequences/<source>/<compression>/{videos/<id>.mp4 | images/<id>/<n>.png} and "
        "manipulated_sequences/<method>/<compression>/..., optionally {train,val,test}.json"
    ),
    "celeb-df": (
        "Celeb-real/, YouTube-real/ and Celeb-synthesis/ with videos or folders of frames, "
        "optionally List_of_testing_videos.txt"
    ),
    "df40": "<method>/{ff,cdf}/frames/<video>/<n>.png or <method>/{fake,real}/<n>.png",
    "genimage": "<generator>/[<imagenet_...>/]{train,val}/{ai,nature}/<n>.png",
    "csv": (
        "a CSV file (or a folder with manifest.csv) with columns path,label and optionally "
        "kind,strength,cue_id,person,split,mask; label is 0 or real, 1 or fake"
    ),
}


@dataclass(frozen=True)
class Sample:
    """One picture with what is known of it.

    ``label`` is 1 for a manipulated picture. ``kind`` names the edit or the method, ``cue_id`` the
    cue it plants, ``strength`` is 0 to 1, ``person`` groups pictures that are not independent,
    ``mask`` is a PNG of the edit. ``frame`` is the number of a frame if ``path`` is a video.
    ``pair`` is shared by an edited picture and its untouched twin.
    """

    name: str
    path: Path
    label: int
    kind: str | None = None
    strength: float | None = None
    cue_id: str | None = None
    person: str | None = None
    split: str | None = None
    mask: Path | None = None
    frame: int | None = None
    pair: str | None = None

    def read(self) -> bytes:
        """The bytes of the picture; a video's frame as PNG. Raises ``UsageError``, ``OSError``."""
        return self.path.read_bytes() if self.frame is None else _frame(self.path, self.frame)

    def read_mask(self) -> NDArray[np.float32] | None:
        """The mask as H x W float32, 0..1; None where the source has none."""
        if self.mask is None:
            return None
        mask = cv2.imdecode(np.frombuffer(self.mask.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise UsageError(f"{self.mask} is not a picture that OpenCV can decode")
        return (np.asarray(mask, dtype=np.float32) / np.float32(255)).astype(np.float32)


def load(layout: str, folder: Path) -> list[Sample]:
    """The samples of ``folder``, which has one of the ``LAYOUTS``; see ``EXPECTED`` for them.

    Raises ``UsageError`` for an unknown layout, and where nothing of that layout is in the folder.
    """
    known = next((one for one in LAYOUTS if one == layout), None)
    if known is None:
        raise UsageError(f"unknown layout {layout!r}; one of {', '.join(LAYOUTS)}")
    samples = list(_READERS[known](folder)) if folder.exists() else []
    if not samples:
        raise UsageError(f"{folder} holds no {known} samples; expected {EXPECTED[known]}")
    return samples


def _bench(folder: Path) -> Iterator[Sample]:
    manifest = folder / "manifest.jsonl"
    for number, line in enumerate(_lines(manifest), 1):
        try:
            row = json.loads(line)
            yield Sample(
                row["file"], folder / row["file"], int(row["label"]),
                row["kind"] if row["label"] else None, row["strength"], row["cue_id"],
                row["person"], row["split"], folder / row["mask"] if row["mask"] else None,
                pair=row["pair"],
            )  # fmt: skip
        except (KeyError, ValueError, TypeError) as error:
            raise UsageError(f"{manifest}, line {number}, is no row of a bench: {error}") from error


def _faceforensics(folder: Path) -> Iterator[Sample]:
    splits = _faceforensics_splits(folder)
    for top, label in (("original_sequences", 0), ("manipulated_sequences", 1)):
        for source in _folders(folder / top):
            for clip in _clips(folder, source):
                first = clip.person.split("_")[0] if clip.person else clip.name
                kind = source.name if label else None
                yield replace(clip, label=label, kind=kind, person=first, split=splits.get(first))


def _faceforensics_splits(folder: Path) -> dict[str, str]:
    """By video id, from the published lists of id pairs; empty without them."""
    found: dict[str, str] = {}
    for split in ("train", "val", "test"):
        for path in (folder / f"{split}.json", folder / "splits" / f"{split}.json"):
            if path.exists():
                found |= {str(i): split for pair in json.loads(path.read_text()) for i in pair}
    return found


def _celeb_df(folder: Path) -> Iterator[Sample]:
    listed = folder / "List_of_testing_videos.txt"
    tested = {line.split()[1] for line in _lines(listed) if len(line.split()) == 2}
    for top in _folders(folder):
        known = {"celeb-real": 0, "youtube-real": 0, "celeb-synthesis": 1}.get(top.name.lower())
        if known is None:
            continue
        for clip in _clips(folder, top):
            video = clip.person or clip.name
            person = video.split("_")[0] if video.startswith("id") else video
            split = None
            if tested:
                split = "test" if f"{top.name}/{video}.mp4" in tested else "train"
            kind = "celeb-synthesis" if known else None
            yield replace(clip, label=known, kind=kind, person=person, split=split)


def _df40(folder: Path) -> Iterator[Sample]:
    for method in _folders(folder):
        inside = {p.name.lower() for p in _folders(method)}
        if not inside & {"ff", "cdf", "fake", "real"}:
            continue
        for part in _folders(method):
            label = 0 if part.name.lower() == "real" else 1
            for clip in _clips(folder, part):
                yield replace(clip, label=label, kind=method.name if label else None)


def _genimage(folder: Path) -> Iterator[Sample]:
    for path in _files(folder, PICTURES):
        parts = path.relative_to(folder).parts
        if len(parts) < 3 or parts[-2] not in ("ai", "nature") or parts[-3] not in ("train", "val"):
            continue
        label = int(parts[-2] == "ai")
        generator = parts[0] if len(parts) > 3 else folder.name
        name = path.relative_to(folder).as_posix()
        yield Sample(name, path, label, generator if label else None, split=parts[-3])


def _csv(given: Path) -> Iterator[Sample]:
    path = given / "manifest.csv" if given.is_dir() else given
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8-sig") as stream:
        for number, row in enumerate(csv.DictReader(stream), 2):
            yield _csv_row(path, number, {k: v or None for k, v in row.items() if k})


def _csv_row(path: Path, number: int, row: dict[str, str | None]) -> Sample:
    label = {"0": 0, "real": 0, "1": 1, "fake": 1}.get((row.get("label") or "").strip().lower())
    name, strength = row.get("path"), row.get("strength")
    if name is None or label is None:
        raise UsageError(f"{path}, line {number}: expected {EXPECTED['csv']}")
    if not (path.parent / name).exists():
        raise UsageError(f"{path}, line {number}: {path.parent / name} does not exist")
    try:
        value = None if strength is None else float(strength)
    except ValueError as error:
        raise UsageError(f"{path}, line {number}: strength {strength!r} is no number") from error
    mask = row.get("mask")
    return Sample(
        name, path.parent / name, label, row.get("kind"), value, row.get("cue_id"),
        row.get("person"), row.get("split"), path.parent / mask if mask else None,
    )  # fmt: skip


def _clips(root: Path, folder: Path) -> Iterator[Sample]:
    """Pictures and frames of videos under ``folder``; ``person`` is the video's name for now.

    A picture in a folder of numbered frames belongs to the video that the folder is named after.
    """
    for path in _files(folder, PICTURES | VIDEOS):
        parts, name = path.relative_to(folder).parts, path.relative_to(root).as_posix()
        if "masks" in parts:
            continue
        if path.suffix.lower() in VIDEOS:
            for n in _frame_numbers(path):
                yield Sample(f"{name}#{n}", path, 0, person=path.stem, frame=n)
        else:
            inside_video = path.stem.isdigit() and len(parts) > 1 and parts[-2] not in _NO_VIDEO
            yield Sample(name, path, 0, person=parts[-2] if inside_video else path.stem)


_NO_VIDEO = ("frames", "images", "faces", "videos", "fake", "real", "ff", "cdf")


def _frame_numbers(path: Path) -> list[int]:
    video = cv2.VideoCapture(str(path))
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    if count < 1:
        raise UsageError(f"{path} is not a video that OpenCV can decode")
    return sorted({i * count // FRAMES_PER_VIDEO for i in range(FRAMES_PER_VIDEO)})


def _frame(path: Path, number: int) -> bytes:
    video = cv2.VideoCapture(str(path))
    video.set(cv2.CAP_PROP_POS_FRAMES, number)
    read, picture = video.read()
    video.release()
    if not read:
        raise UsageError(f"{path} gives no frame {number}; the video is cut short")
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


def _files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    wanted = set(suffixes)
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in wanted and p.is_file())


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line] if path.exists() else []


_READERS: dict[Layout, Callable[[Path], Iterable[Sample]]] = {
    "bench": _bench,
    "faceforensics": _faceforensics,
    "celeb-df": _celeb_df,
    "df40": _df40,
    "genimage": _genimage,
    "csv": _csv,
}
