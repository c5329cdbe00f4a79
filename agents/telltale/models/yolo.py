"""Faces, their parts and other objects, found by YOLO through ultralytics.

In: upright sRGB pictures (H x W x 3 uint8) of any size. Out: for each, what was found as
(type, box in px, confidence, class name of an object), best first, in the form that
``telltale.regions.regions_of`` takes. Weights are ``.safetensors`` with the architecture in a
``.json`` beside them (no pickles), or ultralytics' own ``.pt``. Fails with ``WeightsMissing``
where a file is not there, ``UsageError`` where it is not what it says. Weights named by a hub's id
are fetched where the settings allow it; nothing else here touches the network, prints, or writes
settings into the home of the user.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from telltale.errors import UsageError, WeightsMissing
from telltale.models import Found
from telltale.models.devices import chosen_device
from telltale.models.hub import HUB_ERRORS, cache_folder, hub_file
from telltale.models.scales import merged
from telltale.regions import DetectedType, Pixels
from telltale.settings import Settings
from telltale.tally import at_work

PART_NAMES: dict[str, DetectedType] = {
    "face": "face", "human face": "face", "eye": "eye", "human eye": "eye", "nose": "nose",
    "human nose": "nose", "mouth": "mouth", "human mouth": "mouth", "ear": "ear",
    "human ear": "ear",
}  # fmt: skip
"""Class names of face weights (and of Open Images); any other class is an object."""

OVERLAP = 0.5
"""Boxes of one class that overlap more (IoU) are one thing: faces side by side stay two."""

MOST_FOUND = 100
OFFLINE = "put the file there, or choose the profile mini, whose weights are in the package"


def mini_weights() -> Path:
    """The detector shipped inside the package."""
    return Path(str(files("telltale"))) / "data" / "weights" / "mini" / "detector.safetensors"


def load_detector(settings: Settings) -> YoloDetector:
    """The detector of the chosen profile: the shipped one, or YOLO weights by file or hub id.

    Files are looked for as they stand, then in ``settings.weights_dir``; an id,
    ``owner/repository/file.pt``, in that folder's ``owner--repository``, then in the hub's local
    cache, then at the hub if ``allow_download``. Raises ``WeightsMissing``.
    """
    if settings.profile == "mini":
        return YoloDetector(device=settings.device)
    paths = [_path(name, settings) for name in settings.detector_weights]
    return YoloDetector(paths, settings.device)


def _path(given: str, settings: Settings) -> Path:
    folder = settings.weights_dir or Path()
    under_id = folder / "--".join(given.split("/", 2)[:2]) / given.split("/", 2)[-1]
    for path in (Path(given), folder / given, under_id):
        if path.is_file():
            return path
    try:
        fetched = hub_file(given, settings.allow_download)
        if fetched is not None and fetched.suffix == ".safetensors":
            hub_file(str(Path(given).with_suffix(".json")), settings.allow_download)
    except HUB_ERRORS as error:
        looked_in = f"{under_id.parent.resolve()} or {cache_folder()}"
        instead = f"{OFFLINE} ({shorten(str(error), 200)})"
        raise WeightsMissing(f"the detector {given}", looked_in, instead) from error
    return fetched or folder / given


class YoloDetector:
    """One or several YOLO networks whose findings are put together."""

    def __init__(
        self,
        weights: Path | str | Sequence[Path | str] | None = None,
        device: str = "cpu",
        confidence: float | None = None,
        imgsz: int | None = None,
    ) -> None:
        """``weights`` default to those shipped; ``confidence`` (least, 0 to 1) and
        ``imgsz`` (longer side, px) to what each was made for.

        Pictures are letterboxed to ``imgsz`` squared, so one in a batch is found as one alone.
        Raises ``WeightsMissing`` naming the file, the folder looked in and what to do instead.
        """
        given = [mini_weights()] if weights is None else weights
        paths = [given] if isinstance(given, str | Path) else list(given)
        self.device = chosen_device(device)
        self._networks = [_Network(Path(p), self.device, confidence, imgsz) for p in paths]
        self.revision = "+".join(n.revision for n in self._networks)
        """Name and first 12 hex digits of the SHA-256 of each weights file."""

    def detect(self, pictures: Sequence[Pixels]) -> list[list[Found]]:
        """What is in each picture, by falling confidence; boxes are inside the picture."""
        found: list[list[Found]] = [[] for _ in pictures]
        with at_work("detector", self.device):
            for network in self._networks:
                for mine, more in zip(found, network.detect(pictures), strict=True):
                    mine += more
        return [sorted(one, key=lambda f: -f[2]) for one in found]


@dataclass(frozen=True)
class _Use:
    """How weights are meant to be used, unless told otherwise."""

    imgsz: int
    confidence: float
    face_confidence: float = 0.0
    large_imgsz: int | None = None  # to which pictures are brought besides, for large faces
    large_px: float = 0.0  # longer side, at imgsz, from which a face is large


class _Network:
    def __init__(
        self, path: Path, device: str, confidence: float | None, imgsz: int | None
    ) -> None:
        if not path.is_file():
            raise WeightsMissing(
                f"the detector {path.stem}",
                str(path.parent.resolve()),
                OFFLINE,
            )
        quiet_ultralytics()
        from ultralytics.models.yolo.detect import DetectionPredictor

        digest = hashlib.sha256(path.read_bytes())
        if path.suffix == ".safetensors":
            model, own = _from_safetensors(path)
            digest.update(path.with_suffix(".json").read_bytes())
        elif path.suffix == ".pt":
            model, own = _from_checkpoint(path)
        else:
            raise UsageError(f"{path}: detector weights end in .safetensors or .pt")
        self._face_confidence = own.face_confidence if confidence is None else 0.0
        self.revision = f"{path.stem}-{digest.hexdigest()[:12]}"
        settings = {
            "conf": own.confidence if confidence is None else confidence,
            "iou": OVERLAP, "device": device,
            "max_det": MOST_FOUND, "rect": False, "verbose": False, "save": False, "mode": "predict",
        }  # fmt: skip
        self._large_px = own.large_px / own.imgsz
        sizes = [imgsz or own.imgsz]
        if own.large_imgsz is not None and imgsz is None:
            sizes.append(own.large_imgsz)
        self._predictors = []
        for size in sizes:
            self._predictors.append(DetectionPredictor(overrides={**settings, "imgsz": size}))
            self._predictors[-1].setup_model(model=model, verbose=False)

    def detect(self, pictures: Sequence[Pixels]) -> list[list[Found]]:
        if not pictures:
            return []
        flipped = [np.ascontiguousarray(p[..., ::-1]) for p in pictures]  # ultralytics takes BGR
        found, *coarse = [[_found(r) for r in predict(flipped)] for predict in self._predictors]
        for other in coarse:
            found = [
                merged(fine, small, self._large_px * max(p.shape[:2]))
                for fine, small, p in zip(found, other, pictures, strict=True)
            ]
        return [
            [f for f in one if f[0] != "face" or f[2] >= self._face_confidence] for one in found
        ]


def _found(result: Any) -> list[Found]:
    out: list[Found] = []
    rows = result.boxes.data.cpu().numpy().astype(float).tolist()
    for x0, y0, x1, y1, score, number in rows:
        name = str(result.names[int(number)])
        if x1 <= x0 or y1 <= y0:
            continue
        kind = PART_NAMES.get(name.lower(), "object")
        out.append((kind, (x0, y0, x1, y1), score, name if kind == "object" else None))
    return out


def architecture(names: Sequence[str]) -> dict[str, Any]:
    """The YOLO11 that ultralytics ships, at half the width of its nano, for these classes."""
    quiet_ultralytics()
    from ultralytics.cfg import ROOT
    from ultralytics.utils import YAML

    cfg: dict[str, Any] = YAML.load(ROOT / "cfg/models/11/yolo11.yaml")
    cfg["scales"] = {"n": [0.34, 0.125, 1024]}
    return cfg | {"scale": "n", "nc": len(names), "channels": 3}


def build(cfg: dict[str, Any]) -> Any:
    """A fresh ``ultralytics.nn.tasks.DetectionModel`` of that architecture."""
    quiet_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel(dict(cfg), ch=3, nc=cfg["nc"], verbose=False)


@cache
def quiet_ultralytics() -> None:
    """Keep ultralytics from printing, from the network and from the settings in the home.

    It reads these variables when it is first imported, so this is called before each import.
    """
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_VERBOSE"] = "false"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="telltale-yolo-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    import logging

    import ultralytics.utils

    ultralytics.utils.SETTINGS["sync"] = False
    ultralytics.utils.LOGGER.setLevel(logging.ERROR)


def _from_safetensors(path: Path) -> tuple[Any, _Use]:
    described = path.with_suffix(".json")
    if not described.is_file():
        raise WeightsMissing(
            f"the architecture {described.stem}",
            str(path.parent.resolve()),
            f"put {described.name} beside {path.name}",
        )
    about = json.loads(described.read_text())
    model = build(about["architecture"])
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"{path} does not fit the architecture in {described.name}") from error
    model.names = dict(enumerate(about["names"]))
    model.task = "detect"
    named = {field.name for field in fields(_Use)}
    use = _Use(**{k: v for k, v in about.items() if k in named})
    return model.eval().requires_grad_(False), use


def _from_checkpoint(path: Path) -> tuple[Any, _Use]:
    from ultralytics import YOLO

    model = YOLO(str(path), task="detect").model
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"{path} holds no YOLO network")
    trained = getattr(model, "args", None) or {}
    imgsz = trained.get("imgsz", 640) if isinstance(trained, dict) else 640
    return model.eval(), _Use(int(imgsz), 0.25)
