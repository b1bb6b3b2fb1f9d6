# Every target sets up what it needs: `make demo` or `make test` on a fresh machine is enough.
PYTHON ?= python3.11
VENV ?= .venv
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test slow boards lint clean

demo: $(READY)
	$(BIN)/recon demo -o out/demo --overwrite

test: $(READY)
	$(BIN)/python -m pytest

slow: $(READY)
	$(BIN)/python -m pytest -m slow

# HEADCT names a file that is not in this repository: the head CT slices that the bundled priors were trained on, HDF5
# with `images` (N, 64, 64) uint8 and `subset` (0 training, 1 validation), as data/priors/README.md says. The validation
# slices are scored; sixteen training slices tune the baselines.
HEADCT ?= headct_64.h5

boards: $(READY)
	mkdir -p out
	$(BIN)/python -m tests.benchmarks.laws --steps 20
	$(BIN)/python -m tests.benchmarks.operators
	$(BIN)/python -m tests.benchmarks.images --data $(HEADCT) -o out/board.jsonl
	$(BIN)/python -m tests.benchmarks.images --table out/board.jsonl

lint: $(READY)
	$(BIN)/ruff check

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile "$(TORCH)"
	$(BIN)/python -m pip install --quiet --no-compile -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) out build *.egg-info
