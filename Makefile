# Every target has a help line; `make` alone prints them. uv is fetched into .uv/ when the machine has none.
SHELL := /bin/bash
.DEFAULT_GOAL := help
UV_VERSION := $(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' scripts/uv.txt)
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
# Another Python has an environment of its own: make unit PYTHON=3.13
PYTHON := 3.12
PYTHONS := 3.12 3.13 3.14
VENV := $(if $(filter 3.12,$(PYTHON)),.venv,.venv-$(PYTHON))
BIN := $(VENV)/bin
PY := $(BIN)/python
# Tests wait for processes and for clocks: four at once keep two cores busy.
PYTEST := $(BIN)/pytest -n 4
PYTEST_UNIT := $(BIN)/pytest -n 3 -q -m unit
# coverage's cheap core sees branches from Python 3.14 on, and only lines before.
BRANCHES = $(shell $(PY) -c 'import sys; print("--cov-branch" if sys.version_info >= (3, 14) else "")')
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
DIST := dist
IMAGE_NAME ?= ai-gateway
IMAGE ?= $(IMAGE_NAME):$(VERSION)
export UV_PYTHON_DOWNLOADS := never
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install run gen gen-check spec-update prices docs format lint type unit unit-all static check test test-cov fuzz fuzz-selftest soak bench real-upstreams lock dist release-check sbom audit image image-smoke clean

# CI=true turns a skipped test (no npm, say) into a failure, and shows the slowest 25.

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.uv/bin/uv:
	@echo "uv is not installed: fetching uv $(UV_VERSION) into .uv/"
	@for python in $(PYTHONS:%=python%) python3 python; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then found=$$python; break; fi; done; \
	if [ -z "$$found" ]; then echo "Python 3.12 or newer is needed: install it, then run make again." >&2; exit 2; fi; \
	$$found -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r scripts/uv.txt

$(VENV)/pyvenv.cfg: $(filter .uv/bin/uv,$(UV))
	@found=$$(scripts/find_python.sh $(PYTHON)) || { echo "Python $(PYTHON) is not on this machine" >&2; exit 2; }; \
	$(UV) venv --quiet --allow-existing --python "$$found" $(VENV)
	@touch $@

$(VENV)/run.stamp: $(VENV)/pyvenv.cfg uv.lock pyproject.toml
	@echo "Installing the gateway (hash-pinned from uv.lock)"
	@$(UV) export --quiet --frozen --no-emit-project --no-default-groups --group build -o $(VENV)/run.txt
	@$(UV) pip install --quiet --require-hashes -r $(VENV)/run.txt
	@$(UV) pip install --quiet --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@echo "Installing the development tools (hash-pinned from uv.lock)"
	@$(UV) export --quiet --frozen --no-emit-project --all-groups --all-extras -o $(VENV)/dev.txt
	@$(UV) pip install --quiet --require-hashes -r $(VENV)/dev.txt
	@touch $@

install: $(VENV)/dev.stamp ## Set up .venv with the gateway and the development tools

run: $(VENV)/run.stamp ## Start the gateway on port 9000 (no configuration needed)
	@exec $(BIN)/ai-gateway serve

gen: $(VENV)/dev.stamp ## Generate generated/ from spec/
	@$(PY) -m scripts.contract gen

gen-check: $(VENV)/dev.stamp ## Fail if generated/ is not exactly what spec/ generates
	@$(PY) -m scripts.contract check

spec-update: $(VENV)/dev.stamp ## Take a newer official document: make spec-update SPEC=path/to/openapi.yaml [ARGS="--dry-run"]
	@test -n "$(SPEC)" || { echo "Name the document: make spec-update SPEC=path/to/openapi.yaml" >&2; exit 2; }
	@$(PY) -m scripts.contract update "$(SPEC)" $(ARGS)

prices: $(VENV)/dev.stamp ## Write the table of prices from the pinned genai-prices, and tell what changes
	@$(PY) -m scripts.prices

docs: $(VENV)/dev.stamp ## Write docs/parameters.md and the tables of the pages on conformance, providers and metrics; and deploy/grafana
	@$(PY) -m scripts.parameters
	@$(PY) -m scripts.providers
	@$(PY) -m scripts.rules
	@$(PY) -m scripts.metrics
	@$(PY) -m scripts.dashboards

format: $(VENV)/dev.stamp ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

lint: $(VENV)/dev.stamp ## Check format and lint rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

type: $(VENV)/dev.stamp ## mypy --strict over src, generated, scripts and tests
	@$(BIN)/mypy

static: $(VENV)/dev.stamp ## Format, lint, types and generated code: all that starts no test, side by side
	@$(MAKE) --no-print-directory -j 2 type lint gen-check

unit: $(VENV)/dev.stamp ## The unit tests: all that start no gateway and take no second
	@$(PYTEST_UNIT)

unit-all: ## The unit tests on every Python of this machine that the gateway runs on
	@failed=; missing=; \
	for version in $(PYTHONS); do \
	  if ! scripts/find_python.sh $$version >/dev/null; then missing="$$missing $$version"; continue; fi; \
	  echo "Python $$version"; \
	  $(MAKE) --no-print-directory unit PYTHON=$$version || failed="$$failed $$version"; \
	done; \
	if [ -n "$$missing" ]; then echo "Not tested, because it is not on this machine: Python$$missing"; fi; \
	if [ -n "$$failed" ]; then echo "Failed on Python$$failed" >&2; exit 1; fi

check: $(VENV)/dev.stamp ## The fast loop: format, lint, types, generated code, unit tests
	@$(MAKE) --no-print-directory -j 3 lint type gen-check unit

test: static ## Everything CI runs, with coverage
	@$(PYTEST) --cov $(BRANCHES) --cov-report=term:skip-covered $(if $(filter true,$(CI)),--durations=25)

test-cov: $(VENV)/dev.stamp ## Tests with an HTML coverage report in htmlcov/
	@$(PYTEST) --cov $(BRANCHES) --cov-report=html --cov-report=term

fuzz: $(VENV)/dev.stamp ## schemathesis on the live app, 1000 examples an operation; parsers on 20000 inputs; models and schemas
	@$(PY) -m scripts.fuzz --examples 1000
	@FUZZ_EXAMPLES=20000 $(BIN)/pytest -q --timeout 1800 tests/fuzz tests/contract/test_agreement.py

fuzz-selftest: $(VENV)/dev.stamp ## Prove that the fuzzing catches every seeded fault; CI tries one of each kind
	@$(BIN)/pytest -q -m "slow or soak" tests/contract/test_fuzz_selftest.py

soak: $(VENV)/dev.stamp ## Load, leaks, kills and attacks at full length (minutes); CI runs the short forms
	@$(BIN)/pytest -s -m soak tests/load tests/attacks tests/accounts

bench: $(VENV)/dev.stamp ## Cost in time and memory beside nginx and a bare relay: make bench ARGS="--check", see docs/performance.md
	@UV="$(UV)" $(PY) -m scripts.bench $(ARGS)

real-upstreams: $(VENV)/dev.stamp ## Check the gateway in front of llama-cpp-python's server (builds it for minutes, once)
	@UV="$(UV)" $(PY) -m scripts.real_upstreams

lock: $(VENV)/pyvenv.cfg ## Resolve uv.lock anew and take the index addresses out
	@$(UV) lock
	@$(PY) scripts/neutral_lock.py uv.lock

dist: $(VENV)/dev.stamp ## Build dist/: the source archive, and from it the wheel; the same bytes wherever it is done
	@rm -rf "$(DIST)"
	@$(UV) build --quiet --no-build-isolation --python $(PY) --out-dir "$(DIST)"
	@rm -f "$(DIST)/.gitignore" && ls "$(DIST)"

release-check: $(VENV)/dev.stamp ## Fail unless tag, version, changelog and chart agree: make release-check TAG=v1.2.3
	@$(PY) -m scripts.release_check "$(or $(TAG),$(GITHUB_REF_NAME))"

sbom: $(VENV)/pyvenv.cfg ## List what the gateway installs as dist/sbom.cdx.json (CycloneDX), from the lock file
	@mkdir -p "$(DIST)"
	@$(UV) export --quiet --preview-features sbom-export --frozen --no-default-groups --all-extras \
	  --format cyclonedx1.5 -o "$(DIST)/sbom.cdx.json"

audit: $(VENV)/pyvenv.cfg ## Look every locked package up for known vulnerabilities (network)
	@$(UV) audit --preview-features audit --frozen $(ARGS)

image: ## Build the container image: make image [IMAGE=name:tag PLATFORMS=linux/amd64,linux/arm64 ARGS="--push"]
	@scripts/image.sh "$(IMAGE)" $(if $(PLATFORMS),--platform "$(PLATFORMS)") $(ARGS)

image-smoke: ## Start that image with a read-only root, and ask it for a chat
	@scripts/image_smoke.sh "$(IMAGE)"

clean: ## Remove .venv, .uv and caches
	rm -rf .venv .venv-* .uv dist .real-upstreams .bench .clients .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov .coverage*
