# Thin: every target is one command of `abet` or of a tool, in the virtual environment that `make setup` builds.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

LIGHT := .venv-light
FAULT_TABLE ?=
PURGE ?=
IMAGE_TABLE ?=
export TAG BASE EXTRA_INDEX BUILDER BUILD_MOUNTS BUILD_OPTIONS PUSH_OPTIONS REGISTRY
# Many containers set it; every process would then compile PyTorch anew, for seconds
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup setup-light demo test test-faults test-gpu test-cluster test-image image push cluster-up cluster-down lint types benchmark clean
.PHONY: train-mapillary finetune fit calibrate eval components pipeline status manifests

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

define require_python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than Python 3.11; try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
endef

# Python compiles what is imported when it is: half of the time to install all of it went into files that nobody reads
PIP_FLAGS := --quiet --disable-pip-version-check --no-compile -c constraints.txt

setup: $(READY)  ## Build .venv with everything that the other targets need

$(READY): pyproject.toml constraints.txt
	$(require_python)
	@echo "building $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[dev]'
	@touch $@

demo: $(READY)  ## Train a small detector on synthetic scenes and show what it finds (six to thirteen minutes, 2 cores)
	@$(BIN)/abet demo

test: $(READY)  ## Run the tests
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not faults and not cluster and not image and not gpu"

test-faults: $(READY)  ## Run the long tests: kills and resumes, many processes [FAULT_TABLE=FILE for the results]
	@ABET_FAULT_TABLE="$(FAULT_TABLE)" $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m faults

test-gpu: $(READY)  ## Run the tests that need a GPU
	@$(BIN)/python -m pytest -m gpu

test-cluster: $(READY)  ## Run the tests on a real SLURM and S3, brought up on this machine for them (as root)
	@ABET_FAULT_TABLE="$(FAULT_TABLE)" $(BIN)/python -m pytest -m cluster

test-image: $(READY)  ## Build the image with buildah on a Debian base and run it as Kubernetes would (as root)
	@ABET_IMAGE_TABLE="$(IMAGE_TABLE)" $(BIN)/python -m pytest -m image

image:  ## Build the image with docker, podman or buildah [TAG= BASE= EXTRA_INDEX= BUILDER= BUILD_MOUNTS= BUILD_OPTIONS=]
	@docker/build.sh

push:  ## Push the image [REGISTRY= TAG=]
	@docker/build.sh push

cluster-up: $(READY)  ## Start SLURM (two nodes of pretended GPUs) and S3 on this machine, to try all of it (as root)
	@slurm/one-machine/cluster-up.sh

cluster-down:  ## Stop what cluster-up started [PURGE=1 removes all that it stored]
	@PURGE="$(PURGE)" slurm/one-machine/cluster-down.sh

lint: $(READY)  ## Check style with ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY)  ## Check types with mypy
	@$(BIN)/mypy

# --- jobs: on SLURM where sbatch is on PATH, else here (ON=local); DRY_RUN=1 prints what would be submitted;
# SECRET='NAME ...' names variables of yours that the job needs

# Submitting needs no torch: a light environment will do, unless the full one is there or the job runs here
SUBMIT_ENV := $(if $(wildcard $(READY)),$(VENV),$(LIGHT))
AUTO := $(if $(filter-out auto,$(value ON)),,auto)
HERE := $(if $(filter local,$(value ON)),here,$(if $(AUTO),$(if $(shell command -v sbatch),,here)))
JOBS_ENV := $(if $(value DRY_RUN),$(SUBMIT_ENV),$(if $(HERE),$(VENV),$(SUBMIT_ENV)))
# What some targets take and others do not, where it would be passed over in silence
TAKEN_train-mapillary := SNAPSHOT
TAKEN_finetune := SNAPSHOT
TAKEN_fit := DATASET CHECKPOINT FIT_ARGS
TAKEN_calibrate := DATASET CHECKPOINT CALIBRATE_ARGS
TAKEN_eval := DATASET CHECKPOINT SHARDS COMPONENTS EVAL_ARGS
TAKEN_components := DATASET CHECKPOINT SHARDS COMPONENTS_ARGS
TAKEN_pipeline := SNAPSHOT SHARDS COMPONENTS PRETRAIN FINETUNE
JOB_TARGETS := train-mapillary finetune fit calibrate eval components pipeline
GIVEN_TARGETS := $(filter $(JOB_TARGETS),$(MAKECMDGOALS))
TAKEN := $(foreach target,$(GIVEN_TARGETS),$(TAKEN_$(target)))
# Values reach the command as they were given: make expands nothing in them, and the shell sees one quoted word
define LINE_BREAK


endef
quoted = $(if $(findstring $(LINE_BREAK),$(1)),$(error a value with a line break cannot be passed on),'$(subst ','\'',$(1))')
flag = $(if $(value $(1)),$(2) $(call quoted,$(value $(1))))
# Only 1 is yes: whoever writes 0 or no means the opposite of what any other word does
yes = $(if $(filter-out 1,$(value $(1)))$(filter-out 1,$(words $(value $(1)))),$(error $(1) is a switch: 1 or nothing))
ifneq ($(GIVEN_TARGETS),)
$(foreach name,DRY_RUN ALLOW_BELOW_TARGET COMPONENTS,$(if $(value $(name)),$(call yes,$(name))))
endif
# One of the environment may be there for other reasons
given = $(if $(filter line,$(origin $(1))),$(value $(1)))
refuse = $(error $(1) means nothing to $(GIVEN_TARGETS), which takes $(TAKEN): leave it out)
ifneq ($(GIVEN_TARGETS),)
$(foreach name,$(filter-out $(TAKEN),$(sort $(foreach target,$(JOB_TARGETS),$(TAKEN_$(target))))),$(if $(call given,$(name)),$(call refuse,$(name))))
endif
switch = $(if $(value $(1)),$(2))
SUBMIT = $(JOBS_ENV)/bin/python -m jobs submit
JOB_FLAGS = $(call flag,ON,--on) $(call flag,PROFILE,--profile) $(call flag,NODES,--nodes) $(call flag,GPUS,--gpus) \
  $(call flag,PROCESSES,--processes) $(call flag,TIME_LIMIT_MINUTES,--time-limit-minutes) $(call flag,RUN,--run) \
  $(call flag,OUTPUT,--output) $(call flag,DATA_ROOT,--data-root) $(call switch,ALLOW_BELOW_TARGET,--allow-below-target) \
  $(call switch,DRY_RUN,--dry-run) $(foreach name,$(value SECRET),--secret $(call quoted,$(name))) $(JOB_ARGS)
CHECKPOINT_FLAGS = $(call flag,DATASET,--dataset) $(call flag,CHECKPOINT,--checkpoint)
options = $(foreach word,$(value $(1)),--option=$(call quoted,$(word)))
require_dataset = $(if $(value DATASET),,echo "make $@: say which data set, for example DATASET=$(1)" >&2; exit 2)

$(LIGHT)/.ready: pyproject.toml constraints.txt
	$(require_python)
	@$(PYTHON) -m venv $(LIGHT)
	@$(LIGHT)/bin/python -m pip install $(PIP_FLAGS) -e .
	@touch $@

setup-light: $(LIGHT)/.ready  ## Build .venv-light, which submits jobs and moves files, without torch

train-mapillary: $(JOBS_ENV)/.ready  ## Pre-train on Mapillary Vistas [SNAPSHOT= NODES= GPUS= RUN= ON= PROFILE= SECRET= DRY_RUN=1]
	@$(SUBMIT) mapillary_pretrain $(call flag,SNAPSHOT,--snapshot) $(JOB_FLAGS)

finetune: $(JOBS_ENV)/.ready  ## Fine-tune on Cityscapes, from SNAPSHOT= or the promoted pre-training [as above]
	@$(SUBMIT) cityscapes_finetune $(call flag,SNAPSHOT,--snapshot) $(JOB_FLAGS)

fit: $(JOBS_ENV)/.ready  ## Fit what some scores need on the training set, for CHECKPOINT= [DATASET=cityscapes FIT_ARGS=]
	@$(SUBMIT) fit $(CHECKPOINT_FLAGS) $(JOB_FLAGS) $(call options,FIT_ARGS)

calibrate: $(JOBS_ENV)/.ready  ## Choose thresholds on DATASET=lost_and_found [CHECKPOINT= CALIBRATE_ARGS='--split train']
	@$(call require_dataset,lost_and_found)
	@$(SUBMIT) calibrate $(CHECKPOINT_FLAGS) $(JOB_FLAGS) $(call options,CALIBRATE_ARGS)

eval: $(JOBS_ENV)/.ready  ## Evaluate DATASET=road_anomaly [CHECKPOINT= SHARDS=8 DATA_ROOT= OUTPUT= COMPONENTS=1 EVAL_ARGS=]
	@$(call require_dataset,road_anomaly)
	@$(SUBMIT) evaluate $(CHECKPOINT_FLAGS) $(call flag,SHARDS,--shards) $(call switch,COMPONENTS,--components) \
	  $(JOB_FLAGS) $(call options,EVAL_ARGS)

components: $(JOBS_ENV)/.ready  ## The second pass alone, of an evaluation with --protocols [as eval, COMPONENTS_ARGS=]
	@$(call require_dataset,road_anomaly)
	@$(SUBMIT) components $(CHECKPOINT_FLAGS) $(call flag,SHARDS,--shards) $(JOB_FLAGS) $(call options,COMPONENTS_ARGS)

pipeline: $(JOBS_ENV)/.ready  ## Pre-train, fine-tune, evaluate both OOD sets, report [PRETRAIN= FINETUNE= recipes, SNAPSHOT= SHARDS= COMPONENTS=1]
	@$(SUBMIT) pipeline $(call flag,PRETRAIN,--pretrain) $(call flag,FINETUNE,--finetune) \
	  $(call flag,SNAPSHOT,--snapshot) $(call flag,SHARDS,--shards) $(call switch,COMPONENTS,--components) $(JOB_FLAGS)

status: $(SUBMIT_ENV)/.ready  ## Say how the jobs stand
	@$(SUBMIT_ENV)/bin/python -m jobs status

manifests: $(SUBMIT_ENV)/.ready  ## Render slurm/*.sbatch and k8s/*.yaml for the example sites (yours: `python -m jobs manifests`)
	@ABET_SITE=abet.site.example.yaml $(SUBMIT_ENV)/bin/python -m jobs render --profile default
	@ABET_SITE=k8s/site.example.yaml AWS_ENDPOINT_URL= AWS_ENDPOINT_URL_S3= AWS_DEFAULT_REGION= \
	  $(SUBMIT_ENV)/bin/python -m jobs manifests --profile default

benchmark: $(READY)  ## Measure the head, the metrics and the centroids against their baselines
	@$(BIN)/python benchmarks/head.py && $(BIN)/python benchmarks/metrics.py && $(BIN)/python benchmarks/centroids.py

clean:  ## Remove what the other targets built (not runs/, weights/ or your site file)
	@rm -rf $(VENV) $(LIGHT) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
