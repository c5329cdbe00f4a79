"""Known regions in a file: embeddings of planted edits and of their untouched twins, by encoder.

In: a path that ends in ``.safetensors``, beside it a JSON file of the same stem. Out: what lies there.
Vectors only, no pictures. Raises ``UsageError`` naming the file for one that is damaged.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from telltale.errors import UsageError
from telltale.regions import RegionType
from telltale.stores.cues import CueStore

Vectors = NDArray[np.float16]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Exemplar(_Part):
    """One known region; its vector is the row of the same number."""

    exemplar_id: str = Field(description="ends in a hash of the vector, so it stands for it")
    region: RegionType
    cue_id: str | None = Field(description="the cue that was planted; null where untouched")
    edited: bool
    kind: str = Field(description="the edit, or that of the untouched region's twin")
    strength: float = Field(ge=0, le=1)


class Exemplars(_Part):
    """What a file holds, beside its vectors."""

    encoder: str = Field(description="revision of the encoder whose embeddings these are")
    seed: int
    made_from: str = Field(description="how many photographs of how many people")
    sha256: str = Field(description="of the file of vectors")
    exemplars: tuple[Exemplar, ...]


def write(
    path: Path, encoder: str, seed: int, made_from: str, exemplars: list[Exemplar], vectors: Vectors
) -> Exemplars:
    """Write vectors (n x dim) and what they are; the same arguments give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"vectors": np.ascontiguousarray(vectors)}, path)
    path.chmod(0o644)  # the library writes for the owner alone
    about = Exemplars(
        encoder=encoder, seed=seed, made_from=made_from, sha256=_digest(path), exemplars=tuple(exemplars)
    )  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(about.model_dump(), indent=1) + "\n")
    return about


def about(path: Path) -> Exemplars | None:
    """What the file beside ``path`` says of it; None where there is none. Raises ``UsageError``."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        return Exemplars.model_validate_json(beside.read_text())
    except ValidationError as error:
        raise _damaged(beside, str(error.errors(include_url=False)[0])) from error


def load(path: Path, store: CueStore) -> bool:
    """Bring the store up to a file, under that file's encoder; whether anything changed.

    Raises ``UsageError`` where the vectors are not those that the file beside them describes.
    """
    described = about(path)
    if described is None or not path.is_file() or _digest(path) != described.sha256:
        raise _damaged(path, "its vectors are not those that its JSON describes")
    try:
        vectors = load_file(path)["vectors"].astype(np.float32)
    except (SafetensorError, KeyError) as error:
        raise _damaged(path, str(error)) from error
    if len(vectors) != len(described.exemplars):
        raise _damaged(path, f"{len(vectors)} vectors, {len(described.exemplars)} described")
    rows = [
        (e.exemplar_id, e.region, e.cue_id, e.edited, v)
        for e, v in zip(described.exemplars, vectors, strict=True)
    ]
    return store.hold_exemplars(described.encoder, rows)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(f"exemplars {path}: {why}; make them again with 'telltale lab exemplars'")
