#!/usr/bin/env bash
# Everything that needs a GPU, in a few minutes a shape: tests on CUDA, speed and memory in bfloat16 and in float16 with loss
# scaling, without a limit and with 15 GiB, which is what a T4 has; the peers and full fine-tuning beside it (bfloat16) where
# `make bench-setup` was run. Without a GPU: a dry run of the same on a tiny model.
#   benchmarks/gpu.sh [OUT] [SHAPE ...]      python of .venv, or $PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-benchmarks/results}
shift || true
python=${PYTHON:-.venv/bin/python}
export PYTHONPATH="src:.:tests:tests/model:tests/training${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
mkdir -p "$out"
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  shapes=("$@")
  [ $# -gt 0 ] || shapes=(10m gpt2-medium qwen2.5-0.5b qwen2.5-1.5b)
  dtypes=(bfloat16 float16) caps=("" 15) steps=4
else
  echo "no GPU: dry run"
  shapes=(tiny) dtypes=(float32) caps=("" 15) steps=2
fi
"$python" -m pytest -q tests/test_cuda.py -rs 2>&1 | tee "$out/gpu-tests.txt"
once() {  # once RECORD COMMAND ...: what is there is not measured again; what fails is told and the rest goes on
  [ -f "$1" ] && { echo "$1 is there"; return; }
  echo "$1"
  "${@:2}" --json "$1" || echo "failed: ${*:2}" | tee -a "$out/gpu-failed.txt"
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for shape in "${shapes[@]}"; do
  "$python" -m benchmarks.workload "$work/$shape" --shape "$shape" --steps "$steps"
  for dtype in "${dtypes[@]}"; do
    for cap in "${caps[@]}"; do
      for stage in sft reward ppo generate; do
        once "$out/gpu-$shape-$dtype${cap:+-${cap}g}-$stage.json" \
          "$python" -m benchmarks.ours "$stage" --work "$work/$shape" --dtype "$dtype" ${cap:+--memory "$cap"}
      done
    done
  done
  for cap in "${caps[@]}"; do
    for settings in default best; do
      if [ -x benchmarks/.venv-trl/bin/python ]; then
        for stage in sft reward grpo generate; do
          once "$out/gpu-$shape-trl-$settings${cap:+-${cap}g}-$stage.json" benchmarks/.venv-trl/bin/python \
            benchmarks/peers/trl_current.py "$stage" --work "$work/$shape" --settings "$settings" ${cap:+--memory "$cap"}
        done
      fi
      if [ -x benchmarks/.venv-trl-ppo/bin/python ]; then
        once "$out/gpu-$shape-trl-$settings${cap:+-${cap}g}-ppo.json" benchmarks/.venv-trl-ppo/bin/python \
          benchmarks/peers/trl_ppo.py ppo --work "$work/$shape" --settings "$settings" ${cap:+--memory "$cap"}
      fi
    done
    if [ -x benchmarks/.venv-trl-ppo/bin/python ]; then
      once "$out/gpu-$shape-full${cap:+-${cap}g}-ppo.json" benchmarks/.venv-trl-ppo/bin/python \
        benchmarks/peers/trl_ppo.py ppo --work "$work/$shape" --adapters none ${cap:+--memory "$cap"}
    fi
  done
done
