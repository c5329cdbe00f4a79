"""Fit what similarity means: norms of real regions, the audit of each cue, Platt and conformal bounds,
and the combination of a picture's evidence.

In: photographs with landmarks of people not trained on, a detector, an encoder, the stages. Out: a
``Calibration``. Half of the held-out people are used here, the other half is left for evaluation. Regions
are those that the detector finds, as in the stream. Whatever the corpus suggests, each cue is audited both by
similarity and by its measurement where it has one, and checked by what passed the audit better.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from telltale.app import Wiring
from telltale.cues import LANGUAGES, SIDES, Cue, sentences
from telltale.events import Region
from telltale.lab.crops import ELSEWHERE, TRAINED, Pair, Photograph, draw_pair, photographs, share
from telltale.lab.edits import EDITS, CannotPlant
from telltale.lab.elsewhere import Elsewhere
from telltale.lab.pipeline import Pipeline
from telltale.lab.statistics import auroc, bootstrap
from telltale.policy.calibration import Calibration, ClaimFit, CueNorm, ImageFit
from telltale.regions import Pixels, crop, regions_for
from telltale.stages.claims import ClaimChecker
from telltale.stages.detect import regions_found
from telltale.stages.embedding import SCALES, Vector

ALPHA = 0.1  # risk level of the conformal sets
STRENGTHS = (0.5, 1.0)
IMAGE_ROUNDS = 8  # pairs of each kind for the combination
PLANTED = 8  # fewer planted regions of a cue tell nothing about it
ENOUGH = 24  # planted regions from which on a cue has a fit of its own
OWN = 0.01  # share of a region that an edit must cover to be looked for there
# the only features that may enter; their order fixes the fit
FEATURES = ("evidence", "claimed", "judge", "supported")

Say = Callable[[str], None]
By = Literal["clip", "measure"]
Row = tuple[float, int, str]
"""A value, planted or not, the person."""
Rows = dict[tuple[str, By], list[Row]]


@dataclass(frozen=True)
class Seen:
    """One picture as the stream sees it; ``own`` are ids of regions in which an edit lies."""

    pixels: Pixels
    regions: tuple[Region, ...]
    vectors: dict[str, Vector]
    own: frozenset[str] = frozenset()


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
    seen = [(_seen(wiring, pair, pair.real), _seen(wiring, pair, pair.edited)) for pair in pairs]
    real = np.stack([v for before, _ in seen for v in before.vectors.values()])
    texts = [s for c in cues for side in SIDES for la in LANGUAGES for s in sentences(c, side, la)]
    base = Calibration(
        revision="fitting", profile=wiring.given.profile, encoder=encoder.revision,
        judge=wiring.judge.revision, alpha=ALPHA,
        image_mean=_rounded(real.mean(axis=0)),
        text_mean=_rounded(encoder.encode_texts(texts).mean(axis=0)),
        cues={}, families={}, image=ImageFit(weights={}, intercept=0.0),
        fitted_on=f"{len(pairs)} pairs of {len(photos)} photographs, {len({p.person for p in photos})} people, seed {seed}",
    )  # fmt: skip
    rows = _rows(ClaimChecker(encoder, cues, base), cues, pairs, seen)
    norms = {c.cue_id: norm for c in cues if (norm := audited(c, rows)) is not None}
    say(f"{sum(n.verifiable for n in norms.values())} of {len(norms)} cues pass the audit")
    families = _families(wiring.cues, rows, norms)
    calibration = base.model_copy(update={"cues": norms, "families": families})
    # a judge is slow: the four weights of the combination need fewer pictures than the audit
    few = pairs[: IMAGE_ROUNDS * len(TRAINED)]
    return _finished(_with_image_fit(wiring, calibration, few, say))


def drawn(photos: Sequence[Photograph], seed: int, rounds: int) -> list[Pair]:
    """Pairs of every kind in turn, at medium and plain strength, half of them outside the studio.

    Kinds left out of training are left out here too: they stand for what nobody has seen.
    """
    rng = np.random.default_rng(seed)
    elsewhere = Elsewhere.packaged(ELSEWHERE)
    pairs = []
    for n in range(rounds):
        for kind in TRAINED:
            try:
                strength = STRENGTHS[n % len(STRENGTHS)]
                pairs.append(draw_pair(photos, kind, strength, rng, elsewhere))
            except CannotPlant:
                continue  # not in these photographs
    return pairs


def picture_bytes(pixels: Pixels) -> bytes:
    """PNG, so that nothing is added to what the pair went through."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _seen(wiring: Wiring, pair: Pair, pixels: Pixels) -> Seen:
    """What detector and encoder make of one twin."""
    encoder, policy = wiring.encoder, wiring.policy.current()
    found, _ = regions_found(wiring.detector.detect([pixels])[0], pixels, policy)
    regions = [
        r.model_copy(update={"embedding_keys": tuple(f"{r.region_id}:{s}" for s in SCALES)})
        for r in found
    ]
    picture = Image.fromarray(pixels)
    crops = [crop(picture, r.box_px, encoder.size_px, s) for r in regions for s in SCALES]
    keys = [k for r in regions for k in r.embedding_keys]
    own = frozenset(r.region_id for r in regions if share(pair.mask, r.geometry(), 1.0) > OWN)
    return Seen(
        pixels, tuple(regions), dict(zip(keys, encoder.encode_images(crops), strict=True)), own
    )


def _rows(
    checker: ClaimChecker,
    cues: Sequence[Cue],
    pairs: Sequence[Pair],
    seen: Sequence[tuple[Seen, Seen]],
) -> Rows:
    rows: Rows = defaultdict(list)
    planted_by = {e.kind: e.cue_id for e in EDITS.values()}
    for pair, (before, after) in zip(pairs, seen, strict=True):
        for cue in cues:
            for by in _ways(cue):
                for region in _places(cue, before):
                    value = checker.read(cue, by, region, before.vectors, before.pixels)
                    if value is not None:
                        rows[cue.cue_id, by].append((value, 0, pair.person))
                if planted_by[pair.kind] != cue.cue_id:
                    continue
                for region in _places(cue, after):
                    value = checker.read(cue, by, region, after.vectors, after.pixels)
                    if value is not None and region.region_id in after.own:
                        rows[cue.cue_id, by].append((value, 1, pair.person))
    return rows


def _ways(cue: Cue) -> tuple[By, ...]:
    return ("clip", "measure") if cue.measurement else ("clip",)


def _places(cue: Cue, seen: Seen) -> list[Region]:
    where = {r.region_id for r in regions_for(cue.region, [r.geometry() for r in seen.regions])}
    return [r for r in seen.regions if r.region_id in where]


def audited(cue: Cue, rows: Rows) -> CueNorm | None:
    """The norm of what checks the cue better; of what the corpus suggests where neither can.

    None where no region of the type was seen.
    """
    norms = {by: _norm(by, rows.get((cue.cue_id, by), [])) for by in _ways(cue)}
    passed = [n for n in norms.values() if n is not None and n.verifiable]
    if passed:
        return max(passed, key=lambda n: n.auroc_low or 0.0)
    return norms["measure" if cue.verifier == "measure" else "clip"]


def _norm(by: By, values: Sequence[Row]) -> CueNorm | None:
    value = np.array([v for v, _, _ in values])
    planted = np.array([p for _, p, _ in values], np.float64)
    real = value[planted == 0]
    if len(real) < 20 or real.std() < 1e-9:
        return None
    mean, sd = round(float(real.mean()), 6), round(float(real.std()), 6)
    if planted.sum() < PLANTED:
        return CueNorm(by=by, real_mean=mean, real_sd=sd, verifiable=False)
    figure = bootstrap(
        lambda rows: auroc(planted[rows], value[rows]), [p for _, _, p in values], resamples=400
    )
    known = not math.isnan(figure.low)
    passes = known and figure.low > 0.5
    return CueNorm(
        by=by, real_mean=mean, real_sd=sd, auroc=round(figure.value, 4),
        auroc_low=round(figure.low, 4) if known else None,
        auroc_high=round(figure.high, 4) if known else None, verifiable=passes,
        fit=_fit(_scored(values, mean, sd), ENOUGH) if passes else None,
    )  # fmt: skip


def _scored(values: Sequence[Row], mean: float, sd: float) -> list[tuple[float, int]]:
    return [((v - mean) / sd, planted) for v, planted, _ in values]


def _families(cues: dict[str, Cue], rows: Rows, norms: dict[str, CueNorm]) -> dict[str, ClaimFit]:
    pooled: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for cue_id, norm in norms.items():
        if norm.verifiable:
            scored = _scored(rows[cue_id, norm.by], norm.real_mean, norm.real_sd)
            pooled[cues[cue_id].family] += scored
            pooled["all"] += scored
    fits = {family: _fit(scored, PLANTED) for family, scored in pooled.items()}
    return {family: fit for family, fit in fits.items() if fit is not None}


def _fit(scored: Sequence[tuple[float, int]], enough: int) -> ClaimFit | None:
    from sklearn.linear_model import LogisticRegression

    z = np.array([s for s, _ in scored])
    planted = np.array([p for _, p in scored])
    if planted.sum() < enough or (planted == 0).sum() < enough:
        return None
    # both sides weigh alike: how often edits are uploaded is for the policy to say, not for the bench
    model = LogisticRegression(class_weight="balanced").fit(z[:, None], planted)
    return ClaimFit(
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
