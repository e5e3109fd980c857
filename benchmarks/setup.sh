#!/usr/bin/env bash
# Makes the peers' environments: benchmarks/.venv-trl (current) and benchmarks/.venv-trl-ppo (the last release with PPO).
# Needs the project's own environment (`make setup`), whose build of PyTorch they share.
set -euo pipefail
cd "$(dirname "$0")"
uv=../.venv/bin/uv
if [ -n "${PIP_FIND_LINKS:-}" ] && [ -d "${PIP_FIND_LINKS}" ]; then export UV_FIND_LINKS="$PIP_FIND_LINKS"; fi
build=$(../.venv/bin/python -c 'import torch; print(torch.__version__)')  # 2.13.0+cpu
version=${build%+*} backend=${build#*+}
for name in trl trl-ppo; do
  python=".venv-$name/bin/python"
  [ -x "$python" ] || ../.venv/bin/python -m venv ".venv-$name"
  if ! "$python" -c 'import torch' 2>/dev/null; then
    if [ -n "${UV_FIND_LINKS:-}" ] && ls "$UV_FIND_LINKS/torch-$version"* >/dev/null 2>&1; then
      $uv pip install -q --compile-bytecode --python "$python" "torch==$version"
    elif [ "$backend" != "$build" ]; then
      $uv pip install -q --compile-bytecode --python "$python" "torch==$version" --torch-backend "$backend"
    else
      $uv pip install -q --compile-bytecode --python "$python" "torch==$version"
    fi
  fi
  $uv pip install -q --compile-bytecode --python "$python" -r "peers/$name.txt"
done
