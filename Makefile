# Every target does its own set-up: a virtual environment with torch and glassformer, made once and redone when
# pyproject.toml or the locked versions change. Needs make and Python 3.11 or newer. Variables, for another set-up:
#
#   make test VERSIONS=newest        the newest versions that pyproject.toml allows, in .venv-newest; without it, those
#                                    of requirements/locked.txt
#   make demo PYTHON=python3.12      the Python that makes the environment (default: the first that is new enough)
#   make demo VENV=/tmp/env          where the environment lives
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
#                                    where torch comes from: this one is the small build without CUDA for Linux
#   make test INSTALL='dist/glassformer-0.1.0-py3-none-any.whl[dev]'
#                                    what is installed and tested (default: this folder, editable)

PYTHON      ?=
VERSIONS    ?= locked
VENV        ?= .venv$(if $(filter newest,$(VERSIONS)),-newest)
DIST        ?= dist
TORCH       ?= torch>=2.11,<2.14
TORCH_INDEX ?=
INSTALL     ?= -e .[dev]
WORKERS     ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2> /dev/null || echo 2); [ $$n -lt 8 ] && echo $$((n + 1)) || echo 8)
PYTEST      ?= -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

ifeq ($(filter $(VERSIONS),locked newest),)
$(error VERSIONS is '$(VERSIONS)'; expected is locked or newest)
endif

LOCKED  := requirements/locked.txt
BIN     := $(VENV)/bin
# by environment variables, which reach the environments in which pip builds as well; older pips know the first alone
PIP     := $(if $(filter locked,$(VERSIONS)),PIP_CONSTRAINT=$(LOCKED) PIP_BUILD_CONSTRAINT=$(LOCKED)) \
           $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet --retries 10
UPGRADE := $(if $(filter newest,$(VERSIONS)),--upgrade --upgrade-strategy eager)
STAMP   := $(VENV)/.glassformer-installed-$(VERSIONS)

.PHONY: help demo test test-quick test-docs test-full check format lock bench wheel setup clean
.DEFAULT_GOAL := help

help: ## say what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

demo: setup ## train a small GPT on real text for about a minute, let it write, and study its residual connection
	@$(BIN)/glassformer demo

# a process for each core, a thread for each process: threads that wait for one another's core are ten times slower
test: setup ## run the tests
	@OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST)

test-quick: setup ## run a part of the tests that uses every dependency, in about a minute
	@OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST) -m "quick and not slow"

test-docs: setup ## run the code of every page of the documentation
	@OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST) --dist load -m "slow or not slow" tests/docs

test-full: setup ## run the tests, the slow ones too
	@OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST) --hypothesis-profile=exploring -m "slow or not slow"

check: setup ## lint, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## fix what lint and formatting can fix automatically
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(BIN)/python ## renew requirements/locked.txt with the newest versions that pyproject.toml allows
	@$(BIN)/python tools/lock.py "$(TORCH)" $(INSTALL)

bench: setup ## measure training and generation beside their peers, and print the ratios
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

wheel: $(BIN)/python ## build the wheel into dist/
	@$(PIP) wheel --no-deps --wheel-dir $(DIST) .
	@ls $(DIST)/*.whl

clean: ## remove the environment and everything that was built (runs are kept)
	rm -rf .venv .venv-newest $(VENV) $(DIST) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(STAMP)

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then break; fi; \
	    if [ "$$python" = "$(PYTHON)" ]; then echo "PYTHON=$(PYTHON) is not a Python 3.11 or newer." >&2; exit 1; fi; \
	    python=; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "glassformer needs Python 3.11 or newer, and none was found. Install one, or name it: make ... PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2> /dev/null; then \
	    echo "$$python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV)

$(STAMP): pyproject.toml $(if $(filter locked,$(VERSIONS)),$(LOCKED)) | $(BIN)/python
	@echo "Installing torch and glassformer into $(VENV): some minutes, once"
	@if [ -z "$(TORCH_INDEX)" ] && [ "$$(uname)" = Linux ] && ! command -v nvidia-smi > /dev/null; then \
	    echo "  (no NVIDIA GPU seen: TORCH_INDEX=https://download.pytorch.org/whl/cpu is a much smaller download)"; \
	fi
	@rm -f $(VENV)/.glassformer-installed-*
	@$(PIP) install $(UPGRADE) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	@$(PIP) install $(UPGRADE) $(INSTALL)
	@touch $(STAMP)
