# Thin: every target is one command of `abet` or of a tool, in the virtual environment that `make setup` builds.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

DATASET ?=
CHECKPOINT ?=
DATA_ROOT ?=
OUTPUT ?=
EVAL_ARGS ?=
FAULT_TABLE ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-faults lint types eval benchmark clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## Build .venv with everything that the other targets need

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than Python 3.11; try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "building $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)  ## Train a small detector on synthetic scenes and show what it finds (ten minutes, 2 cores)
	@$(BIN)/abet demo

test: $(READY)  ## Run the tests
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not faults"

test-faults: $(READY)  ## Run the long tests: kills and resumes, many processes [FAULT_TABLE=FILE for the results]
	@ABET_FAULT_TABLE="$(FAULT_TABLE)" $(BIN)/python -m pytest -m faults

lint: $(READY)  ## Check style with ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY)  ## Check types with mypy
	@$(BIN)/mypy

eval: $(READY)  ## Evaluate a checkpoint: DATASET=road_anomaly [CHECKPOINT= DATA_ROOT= OUTPUT= EVAL_ARGS=]
	@test -n "$(DATASET)" || { echo "make eval: say which data set, for example DATASET=road_anomaly" >&2; exit 2; }
	@$(BIN)/abet evaluate --dataset "$(DATASET)" $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") \
	  $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)") $(if $(OUTPUT),--output "$(OUTPUT)") $(EVAL_ARGS)

benchmark: $(READY)  ## Measure the head and the metrics against their baselines
	@$(BIN)/python benchmarks/head.py && $(BIN)/python benchmarks/metrics.py

clean:  ## Remove what the other targets built (not runs/, weights/ or your site file)
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
