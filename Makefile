# Everything that a clone needs: Python >= 3.10, make and pip are enough to start.
#
#   make serve        install into .venv and start the service
#   make test         install the test extras and run the whole suite
#   make check        lint, format check, types
#   make demo         three simulated devices teach it real images, with a kill -9 half-way
#   make acceptance   the long runs behind the figures in the README
#   make clean        remove what was built (the data folder stays)

VENV   ?= .venv
HOST   ?= 127.0.0.1
PORT   ?= 8080
DATA   ?= ./edge-cl-data
BUDGET ?=
# `make test TORCH=` leaves torch out; the tests that need it then say so and skip.
TORCH  ?= torch==2.13.0
PYTEST ?= -n 2

SUITABLE = import sys, venv; raise SystemExit(sys.version_info < (3, 10))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.10; do \
	"$$name" -c '$(SUITABLE)' 2>/dev/null && echo "$$name" && break; done)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help serve test check format demo acceptance clean

help:
	@sed -n 's/^#   //p' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.10 with the venv module was found; \
	install one (Debian: apt install python3-venv) or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); else \
		$(PYTHON) -m venv --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python install pip; fi

# A stamp is newer than pyproject.toml while the installed requirements still match it.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-bench: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[bench]'
	@touch $@ $(VENV)/.installed

# torch comes first and exactly pinned: an open requirement may pull gigabytes of GPU libraries.
$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	@if test -n "$(TORCH)" && $(PIP) install '$(TORCH)'; then \
		$(PIP) install --editable '.[all]'; \
	else \
		echo "note: no torch here; the tests that need it will be skipped" >&2; \
		$(PIP) install --editable '.[dev]' onnx; \
	fi
	@touch $@ $(VENV)/.installed $(VENV)/.installed-bench

serve: $(VENV)/.installed
	$(BIN)/edge-cl serve --host $(HOST) --port $(PORT) --data $(DATA) \
		$(if $(BUDGET),--memory-budget $(BUDGET))

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PYTEST)

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(VENV)/.installed-bench
	$(BIN)/edge-cl demo

acceptance: $(VENV)/.installed-test
	$(BIN)/python tests/acceptance/kill9.py --kills 20 --report docs/results/kill9.md
	$(BIN)/edge-cl bench memory --output docs/results
	$(BIN)/edge-cl bench http-cifar --max-gap 6 --output docs/results
	for protocol in er_mir gdumb gem van_de_ven bursts frozen_heads; do \
		$(BIN)/python -m edge_cl.bench.protocols $$protocol || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find edge_cl service tests -name __pycache__ -type d -prune -exec rm -rf {} +
