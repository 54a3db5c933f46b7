# Every target sets up what it needs; `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
BIN := .venv/bin
# Python keeps what it compiles in .venv, which is disposable, also where that is switched off elsewhere.
unexport PYTHONDONTWRITEBYTECODE
# Python compiles a module when it is first imported: most of what is installed never is.
PIP := $(BIN)/pip --disable-pip-version-check --quiet install --no-compile
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadscope

.PHONY: help serve services services-stop test test-long test-orders test-browser fuzz check openapi docs lock \
	bench bench-peers migration clean

help:  ## List the targets
	@sed -n 's/^\([a-z -]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Tessera needs Python 3.11 or newer: set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "Making .venv failed; on Debian: apt install python3-venv" >&2; exit 1; }

.venv/.runtime: requirements.lock requirements-build.lock pyproject.toml | .venv/bin/python
	@echo "Installing what Tessera needs into .venv (once) ..." >&2
	@$(PIP) --require-hashes --no-deps -r requirements.lock -r requirements-build.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.runtime
	@echo "Installing what the tests need into .venv (once) ..." >&2
	@$(PIP) --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

# Without npm what we show in JavaScript and TypeScript is not tried, nor openapi.yaml linted; CI insists on it.
tests/node/node_modules: tests/node/package.json tests/node/package-lock.json
	@if ! command -v npm > /dev/null; then \
		echo "There is no npm: the tests in JavaScript will be skipped." >&2; \
	elif ! (cd tests/node && npm ci --ignore-scripts --loglevel=error --no-audit --no-fund > /dev/null); then \
		rm -rf $@; echo "npm failed: the tests in JavaScript will be skipped." >&2; \
	else touch $@; fi

serve: .venv/.runtime  ## Set up what is missing, migrate, and serve on http://127.0.0.1:8000
	@$(BIN)/tessera migrate
	@exec $(BIN)/tessera serve

services: .venv/.dev  ## Start the PostgreSQL and Redis that tests need, under .services/; install them as root
	@$(BIN)/python -m tests.services start

services-stop: .venv/.dev  ## Stop what `make services` started, and remove its data
	@$(BIN)/python -m tests.services stop

test: .venv/.dev tests/node/node_modules  ## Set up what is missing, and run the tests, but for the long ones
	@$(PYTEST) -m "not long" $(ARGS)

test-long: .venv/.dev tests/node/node_modules  ## Run the long tests: races, kill -9 over and over, the image
	@$(PYTEST) -m long $(ARGS)

ORDERS := 5

test-orders: .venv/.dev tests/node/node_modules  ## Run the tests in random orders, and each module alone: make test-orders ORDERS=10
	@$(BIN)/python -m tests.orders --orders $(ORDERS) $(ARGS)

test-browser: .venv/.dev tests/node/node_modules  ## Try the page /docs in Chromium, which has to be installed
	@$(BIN)/python -m tests.browser $(ARGS)

SECONDS := 600

fuzz: .venv/.dev  ## Fuzz the contract on each database: make fuzz SECONDS=600 ARGS='--as user'
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

check: .venv/.dev  ## Lint, types, the import rule, drift of what is generated, translations
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.generated --check
	@$(BIN)/python -m tests.translations

openapi docs: .venv/.dev  ## Take the examples; write openapi.yaml, docs/problems.md, the README's tables, the catalogues
	@$(BIN)/python -m tests.generated

migration: .venv/.dev  ## Write the next migration: make migration MESSAGE='Add a table'
	@$(BIN)/python -m migrations "$(MESSAGE)"

bench: .venv/.dev  ## Measure what requests cost, beside the peers that are installed; write docs/performance
	@$(BIN)/python -m benchmarks.performance $(ARGS)

bench-peers: .venv/.dev  ## Install the peers into PEERS_HOME (.peers) and fill their databases; then `make bench`
	@$(BIN)/python -m benchmarks.peers
	@$(BIN)/python -m benchmarks.performance $(ARGS)

LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

lock: .venv/.dev  ## Choose the newest dependencies that fit pyproject.toml
	@$(LOCK) pyproject.toml -o requirements.lock
	@$(LOCK) pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock
	@$(LOCK) requirements-build.in -c requirements-dev.lock -o requirements-build.lock

clean:  ## Remove what was set up and generated, but not the data
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis tests/node/node_modules
