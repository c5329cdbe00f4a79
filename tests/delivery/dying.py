"""A worker of the real command that kills itself before its n-th acknowledgement: ``python -m dying STAGE N``.

What it had finished by then is sent or recorded, and comes again.
"""

from __future__ import annotations

import sys
from itertools import count
from signal import SIGKILL

from telltale.cli import main
from telltale.lab.chaos_worker import signal_at

if __name__ == "__main__":
    _, stage, number = sys.argv
    calls = count(1)
    signal_at("before-acknowledgement", SIGKILL, lambda: next(calls) == int(number))
    sys.argv = ["telltale", "worker", stage]
    main()
