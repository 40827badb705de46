# Everything sets itself up: Python >= 3.11, git and make are enough. Node is used where it is there.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUN    := $(BIN)/python -m
NPM    := $(shell command -v npm 2>/dev/null)

# What flake8-async cannot know: these take `task_status` and are started with `nursery.start`.
ASYNC_RULES := --enable ASYNC900,ASYNC910,ASYNC911 --startable-in-context-manager=watch_folder,hold_connections

# What the conformance suite is installed into, and where its results go.
SUITE := build/conformance

.PHONY: help setup demo test test-all conformance lint types coverage wheel bench bench-wrap lock changelog clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/.ready: locks/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mcpctl needs Python 3.11 or later: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r locks/dev.txt
	$(RUN) pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

setup: $(VENV)/.ready  ## make the virtual environment with all that development needs

tests/node/node_modules/.ready: tests/node/package-lock.json
ifneq ($(NPM),)
	cd tests/node && $(NPM) ci --silent --no-audit --no-fund && touch node_modules/.ready
else
	@echo "npm is not here: tests with Node will be skipped"
endif

$(SUITE)/node_modules/.ready: tests/conformance/package-lock.json
	@test -n "$(NPM)" || { echo "the conformance suite needs npm"; exit 1; }
	mkdir -p $(SUITE) && cp tests/conformance/package*.json $(SUITE)/
	cd $(SUITE) && $(NPM) ci --ignore-scripts --silent --no-audit --no-fund && touch node_modules/.ready

# The suite needs Node.js 22; a system's older one serves npm only.
$(SUITE)/node/.ready: locks/node.txt
	node --eval 'process.exit(parseInt(process.versions.node) >= 22 ? 0 : 1)' 2>/dev/null || { \
		$(PYTHON) -m venv $(SUITE)/node && \
		$(SUITE)/node/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<; }
	mkdir -p $(@D) && touch $@

demo: setup  ## see it work: two servers, one client, one minute
	$(BIN)/python demo/demo.py

test: setup tests/node/node_modules/.ready  ## the tests, without the slow ones
	$(RUN) pytest -m "not slow"

test-all: setup tests/node/node_modules/.ready  ## all tests
	$(RUN) pytest

conformance: setup $(SUITE)/node_modules/.ready $(SUITE)/node/.ready  ## the official MCP suite (ONLY="wrap 2026-07-28")
	$(BIN)/python tests/conformance/run.py $(ONLY)

lint: setup  ## style, trio manners, spelling, who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files "daemon/*.py" "ctl/*.py" | xargs -P 2 -n 100 $(BIN)/flake8-async $(ASYNC_RULES)
	git ls-files | grep -v -e '^locks/' -e package-lock.json -e machines-openapi.json | xargs $(BIN)/codespell
	$(BIN)/lint-imports

types: setup  ## mypy, strict
	$(BIN)/mypy

coverage: setup  ## each protocol module is covered whole by its own test file
	$(BIN)/python tests/protocol_coverage.py

wheel: setup  ## build dist/*.whl
	rm -rf dist
	$(RUN) pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

bench-wrap: setup  ## measure `mcpctl wrap` against other HTTP fronts (installs them; needs Node)
	$(RUN) benchmarks.fronts $(BENCH)

bench: setup  ## measure against rivals in one run (installs them; needs Node)
	$(RUN) benchmarks $(BENCH)

lock:  ## resolve the lock files anew (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
		--group test --group lint --group release pyproject.toml locks/build.in -o locks/dev.txt
	uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
		pyproject.toml locks/build.in -o locks/run.txt
	uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
		locks/node.in -o locks/node.txt

changelog: setup  ## show what the change notes will say
	$(BIN)/towncrier build --draft --version next

clean:  ## remove what was made
	rm -rf $(VENV) build dist tests/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
