# Every target first creates the virtual environment .venv with an editable installation of the package.
# The installation is updated when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
INSTALLED := $(VENV)/.installed

export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test coverage test-cluster test-browser check format lint imports types docs docs-check bench hooks clean

demo: $(INSTALLED)  ## Train four small networks, ingest them, query and rank. Offline once installed.
	examples/digits/demo.sh

test: $(INSTALLED)  ## All tests, in two processes.
	python -m pytest --numprocesses=2 --dist=loadfile --durations=40

coverage: $(INSTALLED)  ## All tests, with coverage, which takes longer.
	python -m pytest --numprocesses=2 --dist=loadfile --cov --cov-report=term:skip-covered

test-cluster: $(INSTALLED)  ## Tests with PostgreSQL, S3 and several nodes; installs PostgreSQL (as root) and an S3 server.
	test -n "$$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null || command -v initdb)" || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql; }
	$(BIN)/python -m pip install --quiet --editable '.[dev,cluster,test-cluster]'
	python -m pytest -m cluster

test-browser: $(INSTALLED)  ## Tests of the report in a real browser; installs Chromium (as root).
	test -n "$$(command -v chromium && command -v chromedriver)" || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver; }
	$(BIN)/python -m pip install --quiet --editable '.[dev,test-browser]'
	python -m pytest -m browser

check: lint imports types docs-check test  ## Everything that CI checks: format, lint, imports, types, docs, tests.

format: $(INSTALLED)
	ruff format .
	ruff check --fix .

lint: $(INSTALLED)
	ruff format --check .
	ruff check .

imports: $(INSTALLED)  ## Check the import layers defined in pyproject.toml.
	lint-imports --no-logo

types: $(INSTALLED)
	mypy

docs: $(INSTALLED)  ## Update the generated help texts and example outputs in README.md and docs/.
	python -m cogapp -r README.md docs/*.md

docs-check: $(INSTALLED)
	python -m cogapp --check README.md docs/*.md

hooks: $(INSTALLED)  ## Run the quick checks before every commit of this clone.
	pre-commit install

bench: $(INSTALLED)  ## Run the benchmarks, write benchmarks/RESULTS.md; GPU=1 adds GPU rows. Forward passes need ../shared.
	GPU=$(GPU) python -m benchmarks

clean:
	rm -rf $(VENV) examples/digits/data examples/digits/weights examples/digits/store

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("qubastore needs Python 3.11 or newer: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
