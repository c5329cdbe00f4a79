"""A broker from a wheel, where Maven's repository is out of reach: librdkafka's mock cluster.

In: a path. Out: its address, written there. It forms groups and takes idempotent producers; what it
keeps is gone when it ends.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from confluent_kafka import Producer

UNTESTED = "restarts, retention, compaction, quotas, TLS and SASL"


def main(where: Path) -> None:
    """Run until told to stop."""
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored"})
    brokers = cluster.list_topics(timeout=10).brokers.values()
    fresh = where.with_suffix(".new")
    fresh.write_text(json.dumps({"bootstrap": ",".join(f"{b.host}:{b.port}" for b in brokers)}))
    fresh.replace(where)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(Path(sys.argv[1]))
