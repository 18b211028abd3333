# Every target does its own set-up in .venv; the first one to run takes a few minutes.
# `make compare` is the main job, `make test` is what the continuous integration runs.

PYTHON ?= python3
DATA ?=
OUT ?= runs/compare
SEED ?= 0
WORKERS ?= 2

# What `make compare` changes of the recipes on synthetic faces, so that two cores are done within ten minutes: small batches,
# and gentle variants of faces that differ by themselves. Chosen on held-out faces.
GENTLE := rotation=15 scale=0.1 shift=0.03 contrast=0.2 brightness=20 colour=0.1 noise=5 occlusion=0.1
SMALL := --problem.count 6000 --problem.test_count 500 $(addprefix --problem.augmentation.,$(GENTLE)) \
    --sdm.ridge.repeats 1 --joint.ridge.repeats 1 --joint.bptt.iterations 500 --joint.bptt.lr 5e-5 \
    --mdm.bptt.iterations 2700 --mdm.bptt.batch_size 16

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
READY := .venv/.ready
DOCS_READY := .venv/.ready-docs

.DEFAULT_GOAL := help
.PHONY: help compare test lint format docs benchmark clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

compare: $(READY) ## train SDM, the joint cascade and MDM on the same faces and report on them (DATA=300-W, OUT=, SEED=, ARGS=)
	@if [ -n "$(DATA)" ]; then \
	    echo "Comparing on the faces of $(DATA)"; \
	    set -- faces --data "$(DATA)"; \
	else \
	    echo "Comparing on synthetic faces (DATA=/path/to/300w compares on real ones)"; \
	    set -- synthetic-faces $(SMALL); \
	fi; \
	$(BIN)/learned-descent compare "$$@" --families sdm joint mdm --seed $(SEED) --out "$(OUT)" $(ARGS)

test: lint ## lint, types, and every test and docstring example with coverage (WORKERS=)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY) ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(DOCS_READY) ## build the documentation in docs/_build/html; warnings are errors
	rm -rf docs/api
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

benchmark: $(READY) ## a page beside the peers that are installed, compared with the last one, in .benchmarks (ARGS=)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.page $(ARGS)

clean: ## remove what the targets made, but keep .venv and runs
	rm -rf docs/_build docs/api .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.* dist build

# torch comes first and on its own, so that a CPU build that pip finds locally is the one that is kept.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) torch==2.13.0
	$(INSTALL) --editable '.[detector,video,dev]'
	@touch $@

$(DOCS_READY): $(READY)
	$(INSTALL) --editable '.[detector,video,dev,docs]'
	@touch $@
