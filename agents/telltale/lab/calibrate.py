"""Fit what similarity means: norms of real regions, the audit of each cue, Platt and conformal bounds,
and the combination of a picture's evidence.

In: photographs with landmarks of people not trained on, an encoder, the stages. Out: a
``Calibration``. Half of the held-out people are used here, the other half is left for evaluation.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from telltale.app import Wiring
from telltale.cues import LANGUAGES, SIDES, Cue, sentences
from telltale.events import Region
from telltale.lab.crops import Pair, Photograph, draw_pair, photographs
from telltale.lab.edits import EDITS, CannotPlant
from telltale.lab.pipeline import Pipeline
from telltale.lab.statistics import auroc, bootstrap
from telltale.models import Encoder
from telltale.policy.calibration import Calibration, CueNorm, FamilyFit, ImageFit
from telltale.regions import Pixels, crop, regions_for
from telltale.stages.claims import ClaimChecker
from telltale.stages.embedding import SCALES, Vector

ALPHA = 0.1  # risk level of the conformal sets
STRENGTHS = (0.5, 1.0)
IMAGE_PAIRS = 68  # four of each kind
PLANTED = 8  # fewer planted regions of a cue tell nothing about it
# the only features that may enter; their order fixes the fit
FEATURES = ("top_z", "mean_z", "judge", "supported")

Say = Callable[[str], None]
Rows = dict[str, list[tuple[float, int, str]]]
"""By cue: (value, planted or not, person)."""


def for_calibration(person: str) -> bool:
    """Whether a held-out person serves calibration rather than evaluation (by hash, half each)."""
    return hashlib.sha256(f"calibration/{person}".encode()).digest()[0] % 2 == 0


def calibrate(
    wiring: Wiring, faces: Path, seed: int = 0, rounds: int = 12, say: Say = lambda _: None
) -> Calibration:
    """Fit everything for the models in ``wiring``; ``rounds`` pairs a kind."""
    photos = [p for p in photographs(faces, measuring=True) if for_calibration(p.person)]
    say(
        f"{len(photos)} photographs of {len({p.person for p in photos})} people, {rounds} pairs a kind"
    )
    pairs = drawn(photos, seed, rounds)
    say(f"{len(pairs)} pairs drawn")
    encoder = wiring.encoder
    cues = list(wiring.cues.values())
    vectors = [_embedded(encoder, pair) for pair in pairs]
    real = np.stack([v for before, _ in vectors for v in before.values()])
    texts = [s for c in cues for side in SIDES for la in LANGUAGES for s in sentences(c, side, la)]
    base = Calibration(
        revision="fitting", profile=wiring.given.profile, encoder=encoder.revision,
        judge=wiring.judge.revision, alpha=ALPHA,
        image_mean=_rounded(real.mean(axis=0)),
        text_mean=_rounded(encoder.encode_texts(texts).mean(axis=0)),
        cues={}, families={}, image=ImageFit(weights={}, intercept=0.0),
        fitted_on=f"{len(pairs)} pairs of {len(photos)} photographs, {len({p.person for p in photos})} people, seed {seed}",
    )  # fmt: skip
    rows = _rows(ClaimChecker(encoder, cues, base), cues, pairs, vectors)
    norms = {c: norm for c, values in rows.items() if (norm := _norm(values)) is not None}
    say(f"{sum(n.verifiable for n in norms.values())} of {len(norms)} cues pass the audit")
    families = _families(wiring.cues, rows, norms)
    calibration = base.model_copy(update={"cues": norms, "families": families})
    # a judge is slow: the four weights of the combination need fewer pictures than the audit
    step = max(1, len(pairs) // IMAGE_PAIRS)
    return _finished(_with_image_fit(wiring, calibration, pairs[::step], say))


def drawn(photos: Sequence[Photograph], seed: int, rounds: int) -> list[Pair]:
    """Pairs of every kind in turn, at medium and plain strength."""
    rng = np.random.default_rng(seed)
    pairs = []
    for n in range(rounds):
        for kind in EDITS:
            try:
                pairs.append(draw_pair(photos, kind, STRENGTHS[n % len(STRENGTHS)], rng))
            except CannotPlant:
                continue  # not in these photographs
    return pairs


def picture_bytes(pixels: Pixels) -> bytes:
    """PNG, so that nothing is added to what the pair went through."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _embedded(encoder: Encoder, pair: Pair) -> tuple[dict[str, Vector], dict[str, Vector]]:
    """Vectors of the untouched and of the edited twin, by '<region>:<scale>'."""
    names = [f"{r.region_id}:{s}" for r in pair.regions for s in SCALES]
    both = []
    for pixels in (pair.real, pair.edited):
        crops = [crop(pixels, r.box_px, encoder.size_px, s) for r in pair.regions for s in SCALES]
        both.append(dict(zip(names, encoder.encode_images(crops), strict=True)))
    return both[0], both[1]


def _rows(
    checker: ClaimChecker,
    cues: Sequence[Cue],
    pairs: Sequence[Pair],
    vectors: Sequence[tuple[dict[str, Vector], dict[str, Vector]]],
) -> Rows:
    rows: Rows = defaultdict(list)
    planted_by = {e.kind: e.cue_id for e in EDITS.values()}
    for pair, (before, after) in zip(pairs, vectors, strict=True):
        own = {r.region_id for r in pair.own}
        for cue in cues:
            if cue.verifier == "ask":
                continue
            for place in regions_for(cue.region, pair.regions):
                region = Region(
                    region_id=place.region_id, type=place.type, box_px=place.box_px, score=1.0, face=place.face,
                    embedding_keys=tuple(f"{place.region_id}:{s}" for s in SCALES),
                )  # fmt: skip
                value = checker.value(cue, region, before, pair.real)
                if value is not None:
                    rows[cue.cue_id].append((value, 0, pair.person))
                if planted_by[pair.kind] == cue.cue_id and place.region_id in own:
                    value = checker.value(cue, region, after, pair.edited)
                    if value is not None:
                        rows[cue.cue_id].append((value, 1, pair.person))
    return rows


def _norm(values: Sequence[tuple[float, int, str]]) -> CueNorm | None:
    value = np.array([v for v, _, _ in values])
    planted = np.array([p for _, p, _ in values], np.float64)
    real = value[planted == 0]
    if len(real) < 20 or real.std() < 1e-9:
        return None
    if planted.sum() < PLANTED:
        return CueNorm(real_mean=float(real.mean()), real_sd=float(real.std()), verifiable=False)
    figure = bootstrap(
        lambda rows: auroc(planted[rows], value[rows]), [p for _, _, p in values], resamples=400
    )
    known = not math.isnan(figure.low)
    return CueNorm(
        real_mean=round(float(real.mean()), 6), real_sd=round(float(real.std()), 6),
        auroc=round(figure.value, 4), auroc_low=round(figure.low, 4) if known else None,
        auroc_high=round(figure.high, 4) if known else None, verifiable=known and figure.low > 0.5,
    )  # fmt: skip


def _families(cues: dict[str, Cue], rows: Rows, norms: dict[str, CueNorm]) -> dict[str, FamilyFit]:
    pooled: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for cue_id, values in rows.items():
        norm = norms.get(cue_id)
        if norm is None or not norm.verifiable:
            continue
        scored = [((v - norm.real_mean) / norm.real_sd, p) for v, p, _ in values]
        pooled[cues[cue_id].family] += scored
        pooled["all"] += scored
    return {family: fit for family, scored in pooled.items() if (fit := _fit(scored)) is not None}


def _fit(scored: Sequence[tuple[float, int]]) -> FamilyFit | None:
    from sklearn.linear_model import LogisticRegression

    z = np.array([s for s, _ in scored])
    planted = np.array([p for _, p in scored])
    if planted.sum() < 8 or (planted == 0).sum() < 8:
        return None
    # both sides weigh alike: how often edits are uploaded is for the policy to say, not for the bench
    model = LogisticRegression(class_weight="balanced").fit(z[:, None], planted)
    return FamilyFit(
        slope=round(float(model.coef_[0, 0]), 6),
        intercept=round(float(model.intercept_[0]), 6),
        natural_max=round(_upper(z[planted == 0]), 6),
        artifact_min=round(-_upper(-z[planted == 1]), 6),
    )


def _upper(values: np.ndarray) -> float:
    """The split-conformal quantile: ceil((n + 1)(1 - alpha)) / n."""
    n = len(values)
    return float(np.quantile(values, min(1.0, math.ceil((n + 1) * (1 - ALPHA)) / n)))


def _with_image_fit(
    wiring: Wiring, fitted: Calibration, pairs: Sequence[Pair], say: Say
) -> Calibration:
    from sklearn.linear_model import LogisticRegression

    wiring.calibration = fitted
    pipeline = Pipeline(wiring)
    pictures = [p for pair in pairs for p in (pair.real, pair.edited)]
    labels = [label for _ in pairs for label in (0, 1)]
    found = []
    for n, judged in enumerate(pipeline.run(picture_bytes(p) for p in pictures)):
        found.append([judged.features.get(f, 0.0) for f in FEATURES])
        if n % 64 == 63:
            say(f"{n + 1} of {len(pictures)} pictures judged")
    pipeline.close()
    model = LogisticRegression(C=1.0).fit(np.array(found), labels)
    weights = {f: round(float(w), 6) for f, w in zip(FEATURES, model.coef_[0], strict=True)}
    return fitted.model_copy(
        update={"image": ImageFit(weights=weights, intercept=round(float(model.intercept_[0]), 6))}
    )


def _finished(calibration: Calibration) -> Calibration:
    content = calibration.model_copy(update={"revision": ""}).model_dump_json().encode()
    return calibration.model_copy(update={"revision": hashlib.sha256(content).hexdigest()[:12]})


def _rounded(vector: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(v), 6) for v in vector)
