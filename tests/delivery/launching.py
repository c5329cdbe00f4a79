"""Workers of any program on the topics of a test's cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import HERE, Cluster, Worker

# the machine may be busy with other tests: a worker then takes long to start
START_S = 400.0
SETTLE_S = 240.0
TELLTALE = str(Path(sys.executable).with_name("telltale"))


@contextmanager
def stand_in(cluster: Cluster, stage: str, **environment: str) -> Iterator[Worker]:
    """A worker of ``faulty`` or ``toy``."""
    with launched(cluster, "-m", "faulty", stage, **environment) as worker:
        yield worker


@contextmanager
def launched(cluster: Cluster, *arguments: str, **environment: str) -> Iterator[Worker]:
    """A process of a Python program with the settings of the cluster; killed at the end."""
    log = cluster.folder / f"{'-'.join(arguments[-2:])}-{len(list(cluster.folder.iterdir()))}.log"
    variables = {
        "TELLTALE_KAFKA_BOOTSTRAP": cluster.bootstrap,
        "TELLTALE_TOPIC_PREFIX": cluster.prefix,
        "TELLTALE_HOME": str(cluster.folder),
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=HERE, env={**os.environ, **variables},
            stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield Worker(process, log)
    finally:
        process.kill()
        process.wait()
