# Every target sets up what it needs: `make demo` or `make test` on a fresh machine is enough.
PYTHON ?= python3.11
VENV ?= .venv
HEADCT ?= headct_64.h5
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

# HEADCT: the HDF5 file of head CT slices that the bundled priors were trained on; only its validation slices are used.
boards: $(READY)
	mkdir -p out
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
