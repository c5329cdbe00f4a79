"""A checkpoint as ultralytics writes it, of a network that has learned nothing."""

from pathlib import Path

import torch

from telltale.models.yolo import architecture, build


def save_detector(path: Path, names: list[str]) -> None:
    model = build(architecture(names))
    model.names = dict(enumerate(names))
    model.task = "detect"
    model.args = {"imgsz": 320, "task": "detect"}
    torch.save({"model": model, "train_args": {"imgsz": 320, "task": "detect"}}, path)
