# Every target sets up what it needs; a fresh machine needs only Python 3.10 to 3.13.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast proofs lint bench gpu-check pocket clean

help:  ## the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## a virtual environment in .venv with all that the others need

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

demo: setup  ## the main job: photographs -> wavelet fine-tuning -> 4096x4096 images -> report
	$(BIN)/diffusion4k demo --out demo

test: setup  ## all tests but the long proofs
	$(BIN)/python -m pytest -m "not slow" --numprocesses 3 --dist loadfile --no-loadscope-reorder

test-fast: setup  ## without what trains, samples or builds something whole: LENGTHY in tests/conftest.py
	$(BIN)/python -m pytest -m "not slow and not e2e and not lengthy" --numprocesses auto --dist loadfile --no-loadscope-reorder

proofs: setup  ## the long proofs: random kills, whole runs at full size
	$(BIN)/python -m pytest -m slow

lint: setup  ## format, lint, types, and the layers of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: setup  ## speed and memory, each against a reference in the same run; results in runs/bench
	for benchmark in wavelet vae_tail glcm frechet metrics_speed sampling_overhead sampling_speed vae_memory \
		plan plan_published uncached curation_speed duplicate_search objectives; do \
		$(BIN)/python benchmarks/$$benchmark.py || exit 1; done
	$(BIN)/diffusion4k ablate recipes/pocket-ablation-small.yaml

gpu-check: setup  ## proof on a GPU in 8 minutes; ARGS=--quick in 4; without a GPU with tiny models
	$(BIN)/python -m benchmarks.gpu $(ARGS)

pocket: setup  ## train the pocket model again, from Debian's wallpaper packages (hours)
	$(BIN)/python recipes/pocket/dataset.py
	$(BIN)/python recipes/pocket/train_text_encoders.py
	$(BIN)/python recipes/pocket/train_autoencoder.py
	$(BIN)/python recipes/pocket/tiles.py
	$(BIN)/diffusion4k vae train recipes/pocket/vae-decoder.yaml model=runs/pocket/vae/autoencoder
	$(BIN)/python recipes/pocket/train_transformer.py
	$(BIN)/python recipes/pocket/export.py
	$(BIN)/diffusion4k train recipes/pocket-wlf.yaml steps=1500 optimizer.learning_rate=5e-4 output=runs/pocket/wlf
	$(BIN)/python recipes/pocket/export.py --tuned runs/pocket/wlf/model/transformer

clean:  ## remove .venv, demo and runs
	rm -rf $(VENV) demo runs
