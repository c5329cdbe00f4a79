"""The checks beside the encoder's figures end where they must, whatever one draw says."""

from __future__ import annotations

import numpy as np
import pytest

from telltale.lab.crops import KINDS
from telltale.lab.encoder_scores import Row, _figures


@pytest.mark.parametrize("seed", range(4))
def test_random_labels_end_at_one_half_over_several_draws(seed):
    rng = np.random.default_rng(seed)
    rows = [
        Row(kind, f"p{n % 7}", real, real + 2.0, real)
        for kind in KINDS
        for n, real in enumerate(rng.normal(size=14))
    ]
    table = _figures(rows, seed)
    check = table["check_random_labels"]
    assert check["value"] == pytest.approx(0.5, abs=0.02)
    assert check["low"] < 0.5 < check["high"]
    assert check["high"] - check["low"] > 0.01  # several draws, not one
    assert table["auroc_trained"]["value"] > 0.85
