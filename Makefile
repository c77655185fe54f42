# The verbs of this project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --no-input
INSTALL := requirements/install $(BIN)/python
CODE := shared services cli sandbox tests
PYTEST ?= $(BIN)/pytest
MARKS ?= not chaos and not contract
# One more than the cores of a small machine: much of a test is waiting.
WORKERS ?= 3
RUNS ?= 20
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: tools readiness manifests k8s-e2e packages sbom chaos chaos-short chaos-pauses chaos-stops chaos-follows help setup dev demo test test-containers mutations test-contract bench-sandbox bench-store bench-analysis bench-space bench-fair bench-capacity bench-pages bench-watched fuzz statements tamper lint format types contracts lock image compose ci clean

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.runtime ## Set up: a venv with what Cloudward needs to run; then use .venv/bin/cloudward

dev: $(VENV)/.dev ## Set up for development: tests and checkers besides

demo: setup ## Migrate the sample content between stand-ins on this machine
	@$(BIN)/cloudward demo

test: dev ## Run all tests but the campaign of chaos-short (ARGS="-k name" for some)
	$(PYTEST) -n $(WORKERS) --dist loadgroup -m "$(MARKS)" $(ARGS)

chaos-short: dev ## Kill, pause and fail everything at work in 20 runs, and see that every plan ends right
	$(PYTEST) -m chaos $(ARGS)
	@$(BIN)/python -m tests.chaos --runs $(RUNS)

chaos: dev ## The same in 200 runs, three at a time, with longer outages: most of an hour (ARGS="--seed 7" for others)
	@$(BIN)/python -m tests.chaos --runs 200 --long --lanes 3 $(ARGS)

chaos-pauses: dev ## Executors asleep at 200 moments while others end their chunks, Postgres asleep for a minute
	@$(BIN)/python -m tests.chaos --only pauses --runs 200 --lanes 3 $(ARGS)

chaos-stops: dev ## Plans stopped, continued and undone, 20 times with everybody alive and 20 with an executor killed before
	@$(BIN)/python -m tests.chaos --only stops --runs 20 --lanes 2 $(ARGS)

chaos-follows: dev ## What changed at the source brought to 20 sites, then everything undone, under kills and faults
	@$(BIN)/python -m tests.chaos --only follows --runs 20 $(ARGS)

readiness: dev ## Cause each fault that /readyz has to name, and allow ten seconds, nothing besides
	@CLOUDWARD_TEST_GRACE=0 $(PYTEST) -q tests/delivery/test_readiness.py tests/unit/ops/test_health.py --durations=0 $(ARGS)

test-containers: dev ## Run the tests of the store, of streams and connections on Postgres 17 and NATS in containers
	CLOUDWARD_TEST_SERVERS=containers $(PYTEST) tests/store tests/delivery/test_topology.py tests/delivery/test_bus.py $(ARGS)

mutations: dev ## Plant faults and see that the tests notice every one (ARGS="name" for some)
	$(BIN)/python -m tests.mutations $(ARGS)

test-contract: dev ## Judge stand-ins and client by Atlassian's OpenAPI documents
	@$(BIN)/python -m tests.contract $(ARGS)

bench-sandbox: dev ## Measure page creations a second of one sandbox process
	@$(BIN)/python -m tests.bench.sandbox $(ARGS)

bench-space: dev ## Measure one space of 50,000 pages and 5 GB through two executors: hours (ARGS="--pages 5000 --megabytes 500")
	@$(BIN)/python -m tests.bench.large $(ARGS)

bench-fair: dev ## Measure a plan of 20 pages behind one of 20,000 on the same site (ARGS="--pages 2000 20")
	@$(BIN)/python -m tests.bench.fair $(ARGS)

bench-store: dev ## Measure the event store beside two others
	$(BIN)/python -m tests.bench.store

bench-capacity: dev ## Measure what a page costs in events, requests and bytes (ARGS="--pages 5000")
	@$(BIN)/python -m tests.bench.capacity $(ARGS)

bench-analysis: dev ## Measure an analysis of 10,000 spaces and 50,000 users, and listing the spaces (ARGS="--kills 5" for it twice)
	@$(BIN)/python -m tests.bench.analysis $(ARGS)

bench-pages: dev ## Measure the pages with 10,000 spaces and 1,000 plans in the read model
	@$(BIN)/python -m tests.bench.pages $(ARGS)

bench-watched: dev ## Measure a migration of 20,000 entities that 50 pages watch: event to screen, memory, rate
	@$(BIN)/python -m tests.bench.watched $(ARGS)

fuzz: dev ## Ask the API everything its document allows and forbids, and judge every answer (schemathesis)
	@$(BIN)/python -m tests.fuzz $(ARGS)

statements: dev ## List what the original assistant's documentation says by row, each with its test or heading
	@$(BIN)/python -m tests.statements

tamper: dev ## Tamper with a log in every way there is, and see who finds it
	@$(BIN)/python -m tests.audit.tamper

lint: dev ## Check style
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

format: dev ## Format the code
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

types: dev ## Check types
	$(BIN)/mypy

contracts: dev ## Check which package may import which
	$(BIN)/lint-imports

lock: setup ## Write the lock files anew from pyproject.toml
	requirements/lock

image: ## Build the image
	docker build -t cloudward .

compose: ## Start everything in containers and wait until it is healthy
	docker compose up --build --detach --wait

tools: $(VENV)-tools/.tools ## Set up what checks the deployment, in a venv of its own

manifests: dev tools ## Render the manifests of every overlay, validate and judge them
	@$(BIN)/python -m tests.manifests

k8s-e2e: dev ## Deploy into the cluster kubectl talks to, migrate while pods are killed, compare (ARGS=--keep leaves it there)
	@$(BIN)/python -m tests.k8s $(ARGS)

packages: tools ## Hold every package of the image against the known vulnerabilities
	@requirements/audit $(VENV)-tools/bin/pip-audit

sbom: tools ## List what the image holds (CycloneDX): sbom.json
	@PYTHONWARNINGS=ignore $(VENV)-tools/bin/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml --of JSON -o sbom.json requirements/image.txt

ci: ## Everything that must be green before a change lands
	bash .ci/run

clean: ## Remove what `setup` and the checkers made
	rm -rf $(VENV) $(VENV)-tools sbom.json .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Cloudward needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "Python cannot make a venv. On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(BIN)/python
	@echo "installing what Cloudward needs ..."
	@$(INSTALL) requirements/runtime.txt
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "installing what tests and checkers need ..."
	@$(INSTALL) requirements/dev.txt
	@touch $@

$(VENV)-tools/.tools: requirements/tools.txt
	@echo "installing what checks the deployment ..."
	@[ -x $(VENV)-tools/bin/python ] || $(PYTHON) -m venv $(VENV)-tools
	@$(INSTALL:$(BIN)/python=$(VENV)-tools/bin/python) requirements/tools.txt
	@touch $@
