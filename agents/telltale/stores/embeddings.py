"""Embeddings in Redis: a cache that may be slow, empty or away without anything but speed being lost.

In: keys (content, region, scale and model revision are in them) and vectors. Out: those vectors that
are there. Stored as float16; nothing is raised: a failure is counted, told to whoever shows health and,
once an outage, logged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import redis
from numpy.typing import NDArray
from redis.backoff import NoBackoff
from redis.retry import Retry

from telltale import tally

Vector = NDArray[np.float32]
LOG = logging.getLogger(__name__)


class EmbeddingCache:
    """Vectors by key; look-ups are tallied as hit, miss or failed."""

    def __init__(self, url: str, ttl_s: int, timeout_s: float) -> None:
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            health_check_interval=30,
            retry=Retry(NoBackoff(), 1),  # a dropped connection once more; the timeout is the limit
        )
        self._ttl_s = ttl_s
        self._away = False
        self._refused: str | None = None  # why it takes no vectors, though it gives them
        self._problem: str | None = None  # what was told last

    def get_many(self, keys: Sequence[str]) -> dict[str, Vector]:
        """Those of the keys that are cached; none while the server is away."""
        if not keys:
            return {}
        try:
            found = self._redis.mget(list(keys))
        except (redis.RedisError, OSError) as error:
            self._failed(error)
            _looked_up("failed", len(keys))
            return {}
        self._away = False
        self._tell(self._refused)
        held = {
            k: np.frombuffer(v, np.float16).astype(np.float32)
            for k, v in zip(keys, found, strict=True)
            if v
        }
        _looked_up("hit", len(held))
        _looked_up("miss", len(keys) - len(held))
        return held

    def put_many(self, vectors: Mapping[str, Vector]) -> None:
        """Cache them for as long as the settings say; nothing happens while the server is away."""
        if not vectors or self._away:
            return  # get_many finds out when it is back
        try:
            pipe = self._redis.pipeline(transaction=False)
            for key, vector in vectors.items():
                pipe.set(key, vector.astype(np.float16).tobytes(), ex=self._ttl_s)
            pipe.execute()
        except redis.ResponseError as error:  # it is full, or a replica
            self._refused = _said(error)
            self._tell(self._refused)
        except (redis.RedisError, OSError) as error:
            self._failed(error)
        else:
            self._refused = None
            self._tell(None)

    def _failed(self, error: Exception) -> None:
        self._away = True
        self._tell(_said(error))

    def _tell(self, problem: str | None) -> None:
        if problem and not self._problem:
            LOG.warning("redis is away, embeddings are computed anew: %s", problem)
        self._problem = problem
        tally.asked("redis", problem)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _looked_up(result: str, count: int) -> None:
    tally.add("telltale_embedding_lookups_total", count, result)
