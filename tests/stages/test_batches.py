"""How many events a stage takes at once: few on a CPU, unless told; as many as are asked at an endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from telltale.app import Wiring
from telltale.settings import Settings

ENDPOINT = {"profile": "standard", "judge_endpoint": "http://127.0.0.1:9/v1", "judge_model": "some"}


@pytest.mark.parametrize(
    ("stage", "given", "most"),
    [
        ("detect", {"device": "cpu"}, 4),
        ("detect", {"device": "cpu", "batch_events": 9}, 9),
        ("judge", {"device": "cpu"}, 2),
        ("judge", {"device": "cpu", "judge_concurrency": 1}, 1),
        ("judge", {"device": "cpu", "judge_concurrency": 6, **ENDPOINT}, 6),
    ],
)
def test_a_batch_is_small_where_it_brings_nothing(
    tmp_path, stage: str, given: dict[str, Any], most: int
) -> None:
    nowhere = {
        "kafka_bootstrap": "127.0.0.1:9", "redis_url": "redis://127.0.0.1:9",
        "postgres_dsn": "postgresql://127.0.0.1:9/none",
    }  # fmt: skip
    settings = Settings(home=tmp_path, **nowhere, **given)
    assert Wiring(settings).stage(stage).batch.max_events == most
