#!/usr/bin/env bash
# Makes .venv and installs Selfsame into it. Repeatable; `make` runs it when pyproject.toml or constraints.txt changed.
set -euo pipefail
cd "$(dirname "$0")"
extras="${1:-hub,languages,track,quant,web,notebooks,dev}"
python="${PYTHON:-python3}"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Selfsame needs Python 3.10 or newer (set PYTHON=/path/to/python)" >&2; exit 2; }
if [ ! -x .venv/bin/python ]; then
  # A machine that has torch already (Kaggle, GPU images) keeps its own build.
  site=""; "$python" -c 'import torch' 2>/dev/null && site="--system-site-packages"
  "$python" -m venv $site .venv || { echo "Python's venv module is missing (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 2; }
fi
.venv/bin/python -m pip install -q --disable-pip-version-check uv 2>&1 | { grep -v 'is ignored' || true; }
# Bytecode at installation, as pip does: else the first import of every process compiles for ten seconds.
uv=".venv/bin/uv pip install -q --compile-bytecode --python .venv/bin/python"
if [ -n "${PIP_FIND_LINKS:-}" ] && [ -d "${PIP_FIND_LINKS}" ]; then export UV_FIND_LINKS="$PIP_FIND_LINKS"; fi

if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
  if [ -n "${UV_FIND_LINKS:-}" ] && ls "$UV_FIND_LINKS"/torch-2.13.0* >/dev/null 2>&1; then $uv torch==2.13.0
  elif command -v nvidia-smi >/dev/null 2>&1; then $uv torch==2.13.0 --torch-backend auto
  else $uv torch==2.13.0 --torch-backend cpu || $uv torch==2.13.0
  fi
fi
# The versions that this was tested with want Python 3.11; 3.10 takes the newest that it can.
constraints="-c constraints.txt"
.venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || constraints=""
$uv $constraints -e ".[$extras]"
# The base of the demo, once (93 MB). Without it everything works on the bundled toy.
.venv/bin/selfsame base smollm2-135m || echo "setup: smollm2-135m could not be had; the demo will run on the bundled toy" >&2
touch .venv/.ready
