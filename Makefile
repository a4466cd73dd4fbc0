# make demo   learn a noise on synthetic images, print the table, write pictures to demo_output/
# make test   lint, types and tests
# make docs   this package's site, in docs/_build/html; the examples run, in minutes
# make coverage      the lines and branches of skdne that `make test` runs, in the terminal
# make test-lowest   fast tests on the lowest declared versions of the dependencies, in .venv-lowest
# Each sets up its environment first (.venv where none is named); a second call finds it ready.
# make serve-binary   a real Triton server of embeddings on 127.0.0.1:8000, in .venv-triton;
#                     ARGS="--help" shows its options

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOWEST_VENV := .venv-lowest
IMAGES ?=

# Triton needs numpy < 2, so an environment of its own, and embeds the system's libpython, so the
# system's Python: another one of the same version (of pyenv, say) fails at its standard library.
TRITON_VENV := .venv-triton
TRITON_PYTHON ?= /usr/bin/python3
ARGS ?=

.PHONY: demo test coverage test-lowest lint docs serve-binary clean

demo: $(READY)
	$(BIN)/python examples/plot_quickstart.py $(if $(IMAGES),--images "$(IMAGES)")

# Two test processes with one thread each use two cores best.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

coverage: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal --cov

test-lowest: $(LOWEST_VENV)/.ready
	OMP_NUM_THREADS=1 $(LOWEST_VENV)/bin/python -m pytest -q -n 2 --dist worksteal -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "skdne needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

# Anew each time: pip would leave a newer version in place. The bounds are of the oldest Python.
$(LOWEST_VENV)/.ready: pyproject.toml tools/lowest.py
	rm -rf $(LOWEST_VENV)
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(PYTHON) tools/lowest.py > $(LOWEST_VENV)/lowest.txt
	$(LOWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c $(LOWEST_VENV)/lowest.txt -e ".[test]"
	@touch $@

serve-binary: $(TRITON_VENV)/.ready
	$(TRITON_VENV)/bin/python tools/serve_binary_v2.py $(ARGS)

$(TRITON_VENV)/.ready:
	$(TRITON_PYTHON) -m venv $(TRITON_VENV)
	$(TRITON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		nvidia-pytriton==0.7.0 numpy==1.26.4
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST_VENV) $(TRITON_VENV) demo_output docs/_build docs/gallery docs/generated
