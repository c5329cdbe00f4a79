"""Real Kafka for the tests of delivery; every test has topics of its own on it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Cluster


@pytest.fixture
def cluster(stack, tmp_path) -> Cluster:
    return Cluster(stack.kafka_bootstrap, tmp_path)
