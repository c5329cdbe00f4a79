"""Saliency over CLIP's image tower: the loop that all methods share, and the methods by name.

In: a crop (S x S x 3 uint8), artifact and natural sentences. Out: ``MapResult``. Every map is drawn
beside maps for neutral sentences on the same crop; one that does not rise over them says nothing
about the claim, and is returned as uninformative. Raises ``UsageError`` for an unknown method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from telltale.errors import UsageError
from telltale.models import MapResult
from telltale.models.cam.classic import eigengradcam, gradcam_plus_plus, layercam
from telltale.models.cam.rollout import rollout
from telltale.models.cam.text import gradient_text, maskclip
from telltale.models.cam.tower import tower_of_own
from telltale.models.clip import ClipEncoder
from telltale.regions import Pixels
from telltale.tally import at_work

Maps = NDArray[np.float32]
Method = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], Maps]
"""(image tower, picture 1 x 3 x S x S, directions n x dim) to raw maps n x h x w, not normalised."""

METHODS: Mapping[str, Method] = {
    "text": gradient_text,
    "maskclip": maskclip,
    "gradcam++": gradcam_plus_plus,
    "layercam": layercam,
    "eigengradcam": eigengradcam,
    "rollout": rollout,
}
# Sentences that describe any photograph alike; their pairwise differences are the directions of
# the neutral maps.
NEUTRAL = (
    "a photograph", "a picture", "an image", "a photo of something", "a snapshot", "a scene",
)  # fmt: skip
INFORMATIVE_SD = 2.0  # rise over the neutral maps, in their standard deviations


class ClipExplainer:
    """Draws maps with one encoder; see ``telltale.models.Explainer``. For one thread at a time."""

    methods = tuple(METHODS)

    def __init__(self, encoder: ClipEncoder) -> None:
        self._encoder = encoder
        self._visual = tower_of_own(encoder.visual)
        self.revision = encoder.revision
        neutral = encoder.encode_texts(NEUTRAL)
        self._neutral = np.stack([neutral[i] - neutral[i - 1] for i in range(len(neutral))])

    def explain(
        self, crop: Pixels, artifact: Sequence[str], natural: Sequence[str], method: str
    ) -> MapResult:
        """Map of the logit difference artifact minus natural; heat is S x S, 0 to 1."""
        if method not in METHODS:
            raise UsageError(
                f"saliency method {method!r} is unknown; there are {', '.join(METHODS)}"
            )
        texts = self._encoder.encode_texts([*artifact, *natural])
        claim = texts[: len(artifact)].mean(axis=0) - texts[len(artifact) :].mean(axis=0)
        length = float(np.linalg.norm(claim))
        # neutral directions as long as the claim's, so that only where they point differs
        neutral = self._neutral / np.linalg.norm(self._neutral, axis=1, keepdims=True) * length
        directions = np.concatenate([claim[None], neutral]).astype(np.float32)
        picture = self._encoder.preprocess([crop])
        on_device = torch.from_numpy(directions).to(picture.device)
        with at_work("explainer", self._encoder.device):
            raw = METHODS[method](self._visual, picture, on_device)
        return _result(method, raw, crop.shape[0])


def _result(method: str, raw: Maps, size_px: int) -> MapResult:
    raw = np.maximum(np.nan_to_num(raw), 0)
    peaks = raw.reshape(len(raw), -1).max(axis=1)
    neutral = peaks[1:]
    spread = max(float(neutral.std()), 1e-6 * max(float(neutral.mean()), 1e-12), 1e-12)
    rise = float((peaks[0] - neutral.mean()) / spread) if peaks[0] > 0 else 0.0
    rise = float(np.clip(rise, -99.0, 99.0))
    heat = raw[0] / peaks[0] if peaks[0] > 0 else raw[0]
    full = Image.fromarray(heat.astype(np.float32)).resize(
        (size_px, size_px), Image.Resampling.BILINEAR
    )
    return MapResult(
        method=method,
        heat=np.clip(np.asarray(full, np.float32), 0, 1),
        peak=float(peaks[0]),
        neutral_peak=float(neutral.mean()),
        rise=rise,
        informative=rise >= INFORMATIVE_SD,
    )
