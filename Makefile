# make demo   learn a noise on synthetic images, print the table, write pictures to demo_output/
# make test   lint, types and tests
# Both set up .venv first; a second call finds it ready.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
IMAGES ?=

.PHONY: demo test lint clean

demo: $(READY)
	$(BIN)/python examples/plot_quickstart.py $(if $(IMAGES),--images "$(IMAGES)")

# Two test processes with one thread each use two cores best.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "skdne needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) demo_output
