# make suites: set up and run the shipped gates on the sample model. make test: set up and run the tests. make check: set up, lint, types, layers.
# Everything goes into .venv; the versions are the tested ones of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LLAMACPP := $(VENV)/.llamacpp
TARGET ?= intel
ARGS ?=

.PHONY: help setup suites test check format sample schema docs bench rigor recipes clean

help:
	@echo "make suites | test | check | format | sample | schema | docs | bench | rigor | recipes | clean     (suites takes TARGET=$(TARGET) and ARGS=...)"

setup: $(LLAMACPP)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

# Apart from the rest: it is compiled. The wheel is kept in the user's cache folder.
$(LLAMACPP): $(READY) scripts/install_llamacpp.py
	$(BIN)/python scripts/install_llamacpp.py
	@touch $(LLAMACPP)

suites: $(LLAMACPP)
	$(BIN)/python -m pytest suites --edge-target=$(TARGET) $(ARGS)

test: $(LLAMACPP)
	$(BIN)/python -m pytest -n 2 --dist=worksteal $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sample: $(LLAMACPP)
	$(BIN)/python -m pytest suites --edge-target=$(TARGET) --edge-report=reports/sample --edge-release=sample $(ARGS)

schema: $(READY)
	$(BIN)/python -c "from pytest_edgeai.report.schema import schema; print(schema(), end='')" > docs/results.schema.json

docs: $(READY)
	$(BIN)/python -m sphinx -q -W -b html docs docs/_build

recipes: $(LLAMACPP)
	$(BIN)/python -m benchmarks.recipes

bench: $(LLAMACPP)
	$(BIN)/python -m benchmarks

rigor: $(LLAMACPP)
	$(BIN)/python -m benchmarks.rigor $(ARGS)

clean:
	rm -rf $(VENV) reports/latest .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
