"""Where the mini weights lie and what their files are called; no framework is loaded to know it."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path


def mini_folder() -> Path:
    """Where the package keeps the mini weights."""
    return Path(str(resources.files("telltale") / "data" / "weights" / "mini"))


def digest(path: Path) -> str:
    """The first 16 hex digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def mini_encoder_revision() -> str | None:
    """The revision that the shipped encoder will have, or None where it is not shipped."""
    weights = mini_folder() / "encoder.safetensors"
    return f"mini-{digest(weights)}" if weights.is_file() else None
