# make suites: set up and run the shipped gates on the sample model. make test: set up and run the tests. make check: set up, lint, types, layers.
# Everything goes into .venv; the versions are the tested ones of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENGINES := $(VENV)/.engines
DEV := $(VENV)/.dev
LLAMACPP := $(VENV)/.llamacpp
TARGET ?= intel
ARGS ?=

# Two pips in one environment would be in each other's way.
.NOTPARALLEL:
.PHONY: help setup suites test check format sample schema docs bench rigor recipes search-bench clean

help:
	@echo "make suites | test | check | format | sample | schema | docs | bench | rigor | recipes | search-bench | clean     (suites takes TARGET=$(TARGET) and ARGS=...)"

setup: $(LLAMACPP) $(DEV)

# What the suites need.
$(ENGINES): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mlx,olive,onnxruntime,openvino]'
	@touch $(ENGINES)

# And what the project's own checks and tests need beside it.
$(DEV): $(ENGINES)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(DEV)

# Apart from the rest: it is compiled. The wheel is kept in the user's cache folder.
$(LLAMACPP): $(ENGINES) scripts/install_llamacpp.py
	$(BIN)/python scripts/install_llamacpp.py
	@touch $(LLAMACPP)

suites: $(LLAMACPP)
	$(BIN)/python -m pytest suites --edge-target=$(TARGET) $(ARGS)

test: $(LLAMACPP) $(DEV)
	$(BIN)/python -m pytest -n 2 --dist=worksteal $(ARGS)

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sample: $(LLAMACPP)
	$(BIN)/python -m pytest suites --edge-target=$(TARGET) --edge-report=reports/sample --edge-release=sample $(ARGS)

schema: $(DEV)
	$(BIN)/python -c "from pytest_edgeai.report.schema import schema; print(schema(), end='')" > docs/results.schema.json

docs: $(DEV)
	$(BIN)/python -m sphinx -q -W -b html docs docs/_build

recipes: $(LLAMACPP) $(DEV)
	$(BIN)/python -m benchmarks.recipes

bench: $(LLAMACPP) $(DEV)
	$(BIN)/python -m benchmarks

rigor: $(LLAMACPP) $(DEV)
	$(BIN)/python -m benchmarks.rigor $(ARGS)

search-bench: $(LLAMACPP) $(DEV)
	$(BIN)/python -m benchmarks.search $(ARGS)

clean:
	rm -rf $(VENV) reports/latest .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
