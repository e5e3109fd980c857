.PHONY: setup demo test lint types quick notebooks bench-setup bench agreement chaos soak clean
export HF_HUB_OFFLINE ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

setup: .venv/.ready

.venv/.ready: setup.sh pyproject.toml constraints.txt
	./setup.sh

demo: setup
	.venv/bin/selfsame demo

# Two workers on two cores: a thread each. The types are checked meanwhile, and what is wrong with them is said at the end.
test quick: export OMP_NUM_THREADS = 1
test: setup lint
	.venv/bin/pyright > .venv/types.log & types=$$!; code=0; \
	  .venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20 || code=$$?; \
	  wait $$types || code=1; cat .venv/types.log; exit $$code

quick: setup lint
	.venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: setup
	.venv/bin/pyright

# Executes the notebooks from scratch and writes their outputs, and the reference of the public names: ten minutes on two cores.
notebooks: setup
	rm -rf notebooks/runs
	.venv/bin/python notebooks/execute.py
	.venv/bin/python docs/reference.py

# The environments of the peers (a gigabyte each), then the same work by them and by us: an hour and a half on two quiet cores.
bench-setup: setup
	benchmarks/setup.sh

DATA ?= demo
bench: bench-setup
	.venv/bin/python -m benchmarks.compare run --shape 10m --data $(DATA) --json runs/bench/cpu-10m.json
	.venv/bin/python -m benchmarks.compare run --shape 124m --data $(DATA) --json runs/bench/cpu-124m.json \
	  --replies 16 --batch 8 --rounds 1 --cases SFT "PPO, LoRA" "PPO, 4" GRPO

# Our scores beside human ratings, five to ten minutes: make agreement DATA=folder (benchmarks/rated.py: what it holds).
agreement: setup
	.venv/bin/python -m benchmarks.agreement run --data $(DATA) --json benchmarks/results/agreement.json

# A run that is killed, damaged and starved of disk 177 times: half an hour on two cores. Full disks need root.
chaos soak: export OMP_NUM_THREADS = 1
chaos: setup
	rm -f runs/chaos.json
	.venv/bin/python -m benchmarks.chaos --json runs/chaos.json

# Eight hours' worth of steps at tiny size: do memory, open files and files on the disk stay what they were? Twenty minutes.
soak: setup
	rm -f runs/soak.json
	.venv/bin/python -m benchmarks.soak --json runs/soak.json

clean:
	rm -rf .venv benchmarks/.venv-* runs .pytest_cache .ruff_cache
