.PHONY: setup demo test lint types quick clean
export HF_HUB_OFFLINE ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

setup: .venv/.ready

.venv/.ready: setup.sh pyproject.toml constraints.txt
	./setup.sh

demo: setup
	.venv/bin/selfsame demo

# Two workers on two cores: a thread each.
test quick: export OMP_NUM_THREADS = 1
test: setup lint types
	.venv/bin/pytest -n 2 --dist worksteal

quick: setup lint
	.venv/bin/pytest -n 2 --dist worksteal -m "not slow"

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: setup
	.venv/bin/pyright

clean:
	rm -rf .venv runs .pytest_cache .ruff_cache
