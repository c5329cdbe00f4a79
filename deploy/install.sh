#!/usr/bin/env bash
# Makes the virtual environment $1 with the fastest installer at hand: uv, from the PATH or from
# the package registry; pip where uv cannot be had. Versions are those of constraints.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))'; then
  echo "telltale needs Python 3.11 or 3.12; $("$python" --version) was found. Set PYTHON=/path/to/python3.11" >&2
  exit 2
fi
if [ ! -x "$venv/bin/python" ]; then
  if ! "$python" -m venv "$venv"; then
    echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2
    exit 2
  fi
fi
# an environment made by another tool may have no pip
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv 2>/dev/null && uv="$venv/bin/uv" || true
fi
if [ -n "$uv" ]; then
  echo "installing with $("$uv" --version)"
  "$uv" pip install --quiet --python "$venv/bin/python" --constraint constraints.txt --editable '.[dev]'
else
  echo "uv cannot be had here; installing with pip, which takes some minutes longer"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
fi
# compiled once: a process that may not write bytecode (PYTHONDONTWRITEBYTECODE, a read-only file system)
# would compile what it imports at every start, which takes it longer than all else
env -u PYTHONDONTWRITEBYTECODE "$venv/bin/python" -c '
import telltale.cli, telltale.delivery.worker
import telltale.models.cam, telltale.models.clip, telltale.models.lmm, telltale.models.yolo
'
