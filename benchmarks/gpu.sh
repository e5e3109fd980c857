#!/usr/bin/env bash
# Everything that needs a GPU, in a few minutes a shape: tests on CUDA, speed and memory in bfloat16 and in float16 with loss
# scaling, without a limit and with 15 GiB, which is what a T4 has. Without a GPU: a dry run of the same on a tiny model.
#   benchmarks/gpu.sh [OUT] [SHAPE ...]      python of .venv, or $PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-benchmarks/results}
shift || true
python=${PYTHON:-.venv/bin/python}
export PYTHONPATH="src:.:tests:tests/model:tests/training${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
mkdir -p "$out"
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  shapes=("${@:-10m}")
  [ $# -gt 0 ] || shapes=(10m gpt2-medium qwen2.5-0.5b qwen2.5-1.5b)
  dtypes=(bfloat16 float16) caps=("" 15) repeats=5
else
  echo "no GPU: dry run"
  shapes=(tiny) dtypes=(float32) caps=("" 15) repeats=1
fi
"$python" -m pytest -q tests/test_cuda.py -rs 2>&1 | tee "$out/gpu-tests.txt"
for shape in "${shapes[@]}"; do
  for dtype in "${dtypes[@]}"; do
    for cap in "${caps[@]}"; do
      record="$out/gpu-$shape-$dtype${cap:+-${cap}g}.json"
      [ -f "$record" ] && { echo "$record is there"; continue; }
      "$python" -m benchmarks.ours --shape "$shape" --dtype "$dtype" --repeats "$repeats" ${cap:+--memory "$cap"} --json "$record"
    done
  done
done
