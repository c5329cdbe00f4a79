"""A worker of the real command that kills itself before its n-th acknowledgement: ``python -m dying STAGE N``.

What it had finished by then is sent or recorded, and comes again.
"""

from __future__ import annotations

import sys
from itertools import count

from telltale.cli import main
from telltale.lab.chaos_worker import die_at

if __name__ == "__main__":
    _, stage, number = sys.argv
    calls = count(1)
    die_at("before-acknowledgement", lambda: next(calls) == int(number))
    sys.argv = ["telltale", "worker", stage]
    main()
