# Every target does its own set-up: a virtual environment with torch and glassformer, made once and redone when
# pyproject.toml changes. Needs make and Python 3.11 or newer. Variables, for a set-up other than the usual:
#
#   make demo PYTHON=python3.12      the Python that makes the environment (default: the first that is new enough)
#   make demo VENV=/tmp/env          where the environment lives
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
#                                    where torch comes from: this one is the small build without CUDA for Linux
#   make test INSTALL='dist/glassformer-0.1.0-py3-none-any.whl[dev]'
#                                    what is installed and tested (default: this folder, editable)

PYTHON      ?=
VENV        ?= .venv
DIST        ?= dist
TORCH       ?= torch>=2.11,<2.14
TORCH_INDEX ?=
INSTALL     ?= -e .[dev]
PYTEST      ?= -q -n auto --maxprocesses 8 --dist loadfile

BIN   := $(VENV)/bin
PIP   := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
STAMP := $(VENV)/.glassformer-installed

.PHONY: help demo test test-full check format bench wheel setup clean
.DEFAULT_GOAL := help

help: ## say what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

demo: setup ## train a small GPT on real text for about a minute, let it write, and study its residual connection
	@$(BIN)/glassformer demo

# a process for each core, a thread for each process: threads that wait for one another's core are ten times slower
test: setup ## run the tests
	@OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST)

test-full: setup ## run the tests, the slow ones too
	@OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST) -m "slow or not slow"

check: setup ## lint, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## mend what lint and formatting can mend by themselves
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## measure training and generation beside their peers, and print the ratios
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

wheel: $(BIN)/python ## build the wheel into dist/
	@$(PIP) wheel --no-deps --wheel-dir $(DIST) .
	@ls $(DIST)/*.whl

clean: ## remove the environment and everything that was built (runs are kept)
	rm -rf $(VENV) $(DIST) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
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

$(STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing torch and glassformer into $(VENV): some minutes, once"
	@if [ -z "$(TORCH_INDEX)" ] && [ "$$(uname)" = Linux ] && ! command -v nvidia-smi > /dev/null; then \
	    echo "  (no NVIDIA GPU seen: TORCH_INDEX=https://download.pytorch.org/whl/cpu is a much smaller download)"; \
	fi
	@$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	@$(PIP) install $(INSTALL)
	@touch $(STAMP)
