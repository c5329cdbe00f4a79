"""Thresholds and actions: readable, reloadable, versioned.

In: a YAML file (the shipped ``policy.yaml`` unless the settings name another). Out: a frozen
``Policy`` whose ``version`` is a hash of its content, so that a verdict names the rules it was
made under. Raises ``UsageError`` naming file and field. ``PolicyFile`` rereads it when it changes.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from telltale.errors import UsageError
from telltale.events import VerdictLabel


class Policy(BaseModel):
    """What is asked, what is concluded from it, and what is done about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manipulated_from: float = Field(
        ge=0, le=1, description="probability from which it is manipulated"
    )
    authentic_below: float = Field(
        ge=0, le=1, description="probability under which it is authentic"
    )
    named_from: float = Field(
        0.95,
        ge=0.5,
        le=1,
        description="probability from which a verdict names an artifact that the judge claims",
    )
    max_faces: int = Field(ge=1, description="faces examined, largest first")
    min_face_px: int = Field(ge=1, description="faces with a shorter side are not judged")
    near_duplicates: Literal["judge", "link"] = Field(
        description="judge a near duplicate afresh, or link it to the earlier verdict"
    )
    near_duplicate_bits: int = Field(ge=0, le=32, description="differing bits of 64 still near")
    candidates: int = Field(ge=2, description="cues and counter-cues put to the judge, together")
    explained_claims: int = Field(ge=0, description="claims for which maps are drawn")
    explain_methods: tuple[str, ...] = Field(description="saliency methods, first is shown first")
    actions: dict[VerdictLabel, str] = Field(description="what to do with each verdict")

    version: str = Field("", exclude=True)

    @model_validator(mode="after")
    def _ordered(self) -> Policy:
        if self.authentic_below > self.manipulated_from:
            raise ValueError("authentic_below is above manipulated_from")
        return self


class PolicyFile:
    """A policy on disk; ``current()`` rereads it when its bytes change.

    A file that became wrong while running keeps the last good policy and says so once through
    ``problem``; at the start it raises ``UsageError``.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self.problem: str | None = None
        self._policy = self._read()

    def current(self) -> Policy:
        """The policy in force."""
        if self._path is not None and self._changed():
            try:
                self._policy, self.problem = self._read(), None
            except UsageError as error:
                self.problem = str(error)
        return self._policy

    def _changed(self) -> bool:
        try:
            status = self._path.stat() if self._path else None
        except OSError:
            return False
        stamp = (status.st_mtime_ns, status.st_size) if status else None
        changed, self._stamp = stamp != self._stamp, stamp
        return changed

    def _read(self) -> Policy:
        name = str(self._path or "policy.yaml")
        try:
            text = (
                self._path.read_text()
                if self._path
                else resources.files("telltale.policy").joinpath("policy.yaml").read_text()
            )
            content = yaml.safe_load(text)
        except (OSError, yaml.YAMLError) as error:
            raise UsageError(f"policy {name} cannot be read: {error}") from error
        try:
            policy = Policy.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(p) for p in first["loc"]) or "content"
            raise UsageError(f"policy {name}, {where}: {first['msg']}") from error
        canonical = json.dumps(policy.model_dump(mode="json"), sort_keys=True).encode()
        return policy.model_copy(update={"version": hashlib.sha256(canonical).hexdigest()[:12]})
