"""``telltale worker``: run stages until told to stop.

In: names of stages. Out: the exit status that a supervisor acts on: 0 stopped cleanly, 2 a setting
that cannot be, 4 a server was away at the start or the broker at the end, 70 a fault of ours, 75 stuck.
Start it again in every case but 0 and 2.
"""

from __future__ import annotations

import click

from telltale.errors import UsageError
from telltale.settings import load_settings


@click.command()
@click.argument("stages", nargs=-1, metavar="[STAGE]...")
@click.option("--all", "every", is_flag=True, help="Run all stages in this process.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of /healthz, /readyz, /metrics.")
def worker(stages: tuple[str, ...], every: bool, port: int | None) -> int:
    """Run one stage, several, or --all in one process.

    \b
    SIGTERM stops cleanly: nothing more is taken, what is in hand is finished,
    sent and acknowledged, and the partitions go to the other workers. Where the
    broker is away then, it ends after 15 s; what it could not send comes again.
    Exit status: 0 stopped, 2 wrong setting, 4 a server is away,
    70 a fault, 75 stuck. Anything but 0 and 2 should be started again.
    """
    from telltale.app import STAGES, build_stages, connected
    from telltale.delivery.worker import run_workers

    if every == bool(stages):
        raise UsageError(f"name stages or say --all; the stages are {', '.join(STAGES)}")
    if unknown := set(stages) - set(STAGES):
        raise UsageError(f"no stage {min(unknown)!r}; the stages are {', '.join(STAGES)}")
    settings = connected(load_settings(**({} if port is None else {"worker_port": port})))
    names = STAGES if every else tuple(dict.fromkeys(stages))
    return run_workers(build_stages(settings, names), settings)
