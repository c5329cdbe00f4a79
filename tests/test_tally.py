"""What models and the cache did can be seen on a worker's page of metrics."""

from __future__ import annotations

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from telltale.delivery.metrics import Metrics
from telltale.models.clip import load_mini
from telltale.stores.embeddings import EmbeddingCache


def samples(name: str) -> dict[str, float]:
    """Values of a counter now, by its labels."""
    families = text_string_to_metric_families(Metrics().text().decode())
    found = [s for f in families for s in f.samples if s.name == name]
    return {" ".join(v for _, v in sorted(s.labels.items())): s.value for s in found}


def test_a_models_time_on_its_device_is_counted() -> None:
    encoder = load_mini()
    before = samples("telltale_model_seconds_total").get("cpu encoder", 0.0)
    encoder.encode_images([np.zeros((encoder.size_px, encoder.size_px, 3), np.uint8)])
    assert samples("telltale_model_seconds_total")["cpu encoder"] > before


def test_lookups_are_hits_misses_or_failed(stack) -> None:
    name = "telltale_embedding_lookups_total"
    before = samples(name)
    cache = EmbeddingCache(stack.redis_url, ttl_s=60, timeout_s=5)
    cache.put_many({"tally:a": np.ones(4, np.float32)})
    assert set(cache.get_many(["tally:a", "tally:b"])) == {"tally:a"}
    EmbeddingCache("redis://127.0.0.1:9", ttl_s=60, timeout_s=1).get_many(["tally:a"] * 3)
    after = samples(name)
    rise = {k: v - before.get(k, 0) for k, v in after.items() if v > before.get(k, 0)}
    assert rise == {"hit": 1, "miss": 1, "failed": 3}
