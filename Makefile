# Every target has a help line; `make` alone prints them. uv is fetched into .uv/ when the machine has none.
SHELL := /bin/bash
.DEFAULT_GOAL := help
UV_VERSION := 0.13.8
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
BIN := .venv/bin
PY := $(BIN)/python
export UV_PYTHON_DOWNLOADS := never
export VIRTUAL_ENV := $(CURDIR)/.venv
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install run gen gen-check spec-update docs format lint type unit check test test-cov fuzz fuzz-selftest soak bench real-upstreams lock clean

# CI=true turns a skipped suite (no npm, say) into a failure.

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.uv/bin/uv:
	@echo "uv is not installed: fetching uv $(UV_VERSION) into .uv/"
	@for python in python3.12 python3 python; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then found=$$python; break; fi; done; \
	if [ -z "$$found" ]; then echo "Python 3.12 or newer is needed: install it, then run make again." >&2; exit 2; fi; \
	$$found -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/pyvenv.cfg: $(filter .uv/bin/uv,$(UV))
	$(UV) venv --quiet --allow-existing --python 3.12 .venv
	@touch $@

.venv/run.stamp: .venv/pyvenv.cfg uv.lock pyproject.toml
	@echo "Installing the gateway (hash-pinned from uv.lock)"
	@$(UV) export --quiet --frozen --no-emit-project --no-default-groups --group build -o .venv/run.txt
	@$(UV) pip install --quiet --require-hashes -r .venv/run.txt
	@$(UV) pip install --quiet --no-build-isolation --no-deps -e .
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	@echo "Installing the development tools (hash-pinned from uv.lock)"
	@$(UV) export --quiet --frozen --no-emit-project --all-groups -o .venv/dev.txt
	@$(UV) pip install --quiet --require-hashes -r .venv/dev.txt
	@touch $@

install: .venv/dev.stamp ## Set up .venv with the gateway and the development tools

run: .venv/run.stamp ## Start the gateway on port 9000 (no configuration needed)
	@exec $(BIN)/ai-gateway serve

gen: .venv/dev.stamp ## Generate generated/ from spec/
	@$(PY) -m scripts.contract gen

gen-check: .venv/dev.stamp ## Fail if generated/ is not exactly what spec/ generates
	@$(PY) -m scripts.contract check

spec-update: .venv/dev.stamp ## Take a newer official document: make spec-update SPEC=path/to/openapi.yaml [ARGS="--dry-run"]
	@test -n "$(SPEC)" || { echo "Name the document: make spec-update SPEC=path/to/openapi.yaml" >&2; exit 2; }
	@$(PY) -m scripts.contract update "$(SPEC)" $(ARGS)

docs: .venv/dev.stamp ## Write docs/parameters.md and the rules of docs/conformance.md from the code
	@$(PY) -m scripts.parameters
	@$(PY) -m scripts.rules

format: .venv/dev.stamp ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

lint: .venv/dev.stamp ## Check format and lint rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

type: .venv/dev.stamp ## mypy --strict over src, generated, scripts and tests
	@$(BIN)/mypy

unit: .venv/dev.stamp ## Unit tests only (seconds)
	@$(BIN)/pytest -q -m "not slow and not soak" -n 2

check: lint type gen-check unit ## The fast loop: format, lint, types, generated code, unit tests

test: .venv/dev.stamp gen-check ## Everything CI runs, with coverage
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/pytest -n 2 --cov --cov-report=term:skip-covered

test-cov: .venv/dev.stamp ## Tests with an HTML coverage report in htmlcov/
	@$(BIN)/pytest -n 2 --cov --cov-report=html --cov-report=term

fuzz: .venv/dev.stamp ## schemathesis on the live app, 1000 examples an operation; parsers on 20000 inputs
	@$(PY) -m scripts.fuzz --examples 1000
	@FUZZ_EXAMPLES=20000 $(BIN)/pytest -q --timeout 1800 tests/fuzz

fuzz-selftest: .venv/dev.stamp ## Prove that the fuzzing catches seeded faults
	@$(BIN)/pytest -q tests/contract/test_fuzz_selftest.py

soak: .venv/dev.stamp ## Load and leaks at full length (minutes); CI runs the short forms
	@$(BIN)/pytest -m soak tests/load

bench: .venv/dev.stamp ## Cost in time and memory beside nginx and a bare relay: make bench ARGS="--check", see docs/performance.md
	@UV="$(UV)" $(PY) -m scripts.bench $(ARGS)

real-upstreams: .venv/dev.stamp ## Check the gateway in front of llama-cpp-python's server (builds it for minutes, once)
	@UV="$(UV)" $(PY) -m scripts.real_upstreams

lock: .venv/pyvenv.cfg ## Resolve uv.lock anew and take the index addresses out
	@$(UV) lock
	@$(PY) scripts/neutral_lock.py uv.lock

clean: ## Remove .venv, .uv and caches
	rm -rf .venv .uv .real-upstreams .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov .coverage*
