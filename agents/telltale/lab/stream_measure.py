"""The measurements of ``telltale bench stream``, side by side in one run.

In: connected settings, JPEG pictures, a ``Plan``. Out: a dictionary of figures with all their runs, as
``--json`` prints it. Raises what the stages raise, and ``DependencyAway`` when events stop coming.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from telltale.lab.stream_models import with_models
from telltale.lab.stream_plan import Figures, Plan, Say
from telltale.lab.stream_plumbing import plumbing
from telltale.lab.stream_world import own_database
from telltale.settings import Settings


def measure(
    settings: Settings, photographs: Sequence[bytes], plan: Plan, folder: Path, say: Say
) -> Figures:
    """Everything that the plan asks for. The cores are shared out among the workers."""
    threads = settings.threads or max(1, (os.cpu_count() or 1) // plan.workers)
    settings = settings.model_copy(update={"threads": threads})
    figures: Figures = {
        "plan": asdict(plan),
        "machine": {
            "cpus": os.cpu_count(), "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(), "load_before": round(os.getloadavg()[0], 2),
        },
        "profile": settings.profile, "batch_events": settings.batch_events,
        "threads": threads, "runs": {},
    }  # fmt: skip
    if plan.pictures:
        with own_database(settings, folder) as own:
            with_models(own, photographs, plan, folder, say, figures)
    plumbing(settings, plan, folder, say, figures)
    return figures
