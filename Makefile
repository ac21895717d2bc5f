# Main targets: `make demo` and `make test`.
VENV   ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO   ?= demo
EXTRAS ?= [dev]
MATRIX ?= 3.11 3.12 3.13

# One thread per process: the work is spread over subjects, and results do not depend on the machine.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS ?= 1
export MPLBACKEND ?= Agg

.PHONY: help install demo test lint typecheck docs docs-columns coverage matrix constraints clean
.DEFAULT_GOAL := help

help: ## list of targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@# Debian and Ubuntu keep venv in a package of its own
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || [ "$$(id -u)" -ne 0 ] || \
	  { apt-get update -qq && apt-get install --yes --no-install-recommends python3-venv; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "Python's venv is missing: run 'sudo apt-get install python3-venv', then make again"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.$(EXTRAS)'
	touch $@

install: $(STAMP) ## a virtual environment with pinned dependencies

demo: $(STAMP) ## the digital reference trial from DICOM to tables, beside the known truth
	$(BIN)/mri-pipeline demo $(DEMO)

test: $(STAMP) lint typecheck docs ## style, types, import contract, documentation and all tests
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  echo "Chromium is missing: the reading page is not tested in a browser (Debian: apt-get install chromium)"
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(STAMP) ## ruff and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

typecheck: $(STAMP) ## mypy, strict
	$(BIN)/mypy

docs: $(STAMP) ## the documentation site in site/, warnings as errors
	DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

docs-columns: $(STAMP) ## docs/columns.md from the definitions of the tables, docs/traceability.md from the marks of the tests
	$(BIN)/python docs/columns.py
	$(BIN)/python docs/traceability.py

coverage: $(STAMP) ## all tests with line and branch coverage, as a table and in htmlcov/
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered --cov-report=html

matrix: ## lint and tests with every Python of MATRIX that is installed
	@for version in $(MATRIX); do \
	  python=$$(command -v python$$version || true); \
	  if [ -z "$$python" ]; then echo "python$$version: not installed"; continue; fi; \
	  echo "python$$version"; $(MAKE) test VENV=.venv-$$version PYTHON=$$python || exit 1; \
	done

constraints: ## renew constraints.txt from a fresh environment
	$(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/pip install --quiet '.[mutation]'
	( head -1 constraints.txt; .venv-constraints/bin/pip list --format=freeze | grep -viE '^(pip|setuptools|mri-pipeline)==' ) > constraints.new
	mv constraints.new constraints.txt
	rm -rf .venv-constraints

clean: ## remove the virtual environment, the site and caches
	rm -rf $(VENV) site htmlcov .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
