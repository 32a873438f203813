# `make help` lists what there is. Needs Python 3.11 to 3.14 with venv, and PyPI at the first run.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo up test coverage check-slow fuzz lint bench chaos chaos-mutations attack conformance sbom audit lock clean

PYTHON ?= python3
VENV ?= .venv
PORT ?=
SECONDS ?=
SEED ?=
# one more than there are cores: tests often wait for other processes
JOBS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
UV := uv==0.13.9
CYCLONEDX := cyclonedx-bom==7.5.0
PIP_AUDIT := pip-audit==2.10.1

BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/.set-up
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
# compiled at once where Python may write no bytecode of its own: every process would pay a second for it
HOT := alembic billiard celery click cryptography flask gunicorn jinja2 jsonschema jwt kombu mako markupsafe \
	marshmallow prometheus_client psycopg2 redis referencing rich simple_websocket sqlalchemy structlog vine \
	werkzeug wsproto _pytest pytest hypothesis coverage

# Bytecode is kept even where the shell says no, since each worker would rewrite all tests anew. Hashes have one order.
GATE := PYTHONDONTWRITEBYTECODE= PYTHONHASHSEED=0

ORDINARY = -m 'not slow' -n $(JOBS) --max-worker-restart 0 --dist loadscope --no-loadscope-reorder
CHAOS = $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

export PATH := $(BIN):$(PATH)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

setup: $(STAMP) ## make the virtualenv from the lock file
	@:

$(STAMP): requirements.lock setup.cfg pyproject.toml
	@python=; for name in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
		if "$$name" -c '$(SUPPORTED)' 2>/dev/null; then python=$$name; break; fi; done; \
	if [ -z "$$python" ]; then \
		echo "OctoLLM needs Python 3.11 to 3.14, and finds none: install it, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
		exit 1; fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "$$python has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; fi; \
	[ -x $(BIN)/python ] && $(BIN)/python -c '$(SUPPORTED)' || "$$python" -m venv --clear $(VENV)
	@count=$$(grep -c '^[a-z0-9].*==' requirements.lock); \
	if [ -x $(BIN)/uv ]; then echo "the lock file is new: installing what changed of $$count packages" >&2; \
	else echo "first run: installing $$count packages, about 30 s" >&2; fi; \
	if [ -x $(BIN)/uv ] || $(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV); then \
		set -- $(BIN)/uv pip install --quiet --python $(BIN)/python; \
	else \
		echo "uv can't be had here: pip does it, in a minute or so" >&2; \
		set -- $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile; \
	fi; \
	"$$@" --require-hashes -r requirements.lock && "$$@" --no-deps --no-build-isolation -e .
	@echo "compiling them" >&2
	@cd $(VENV)/lib/python3*/site-packages && $(BIN)/python -m compileall -q -j 0 $(HOT)
	@touch $@

demo: setup ## run everything, audit examples/sample_package, print the verdict, stop everything; ARGS=--reject: the flawed one
	@octollm demo $(ARGS)

up: setup ## run everything until Ctrl-C; PORT=8000, FLOWER_BASIC_AUTH=user:password for Flower too
	@octollm up $(if $(PORT),--port $(PORT))

test: setup ## all tests but the slow ones, on real servers, the same examples each time; ARGS='-k lease'
	@$(GATE) python -m pytest $(ORDINARY) $(ARGS)

coverage: setup ## the same tests traced, worker processes included; fails below 85 %; takes half as long again
	@rm -f .coverage .coverage.*
	@$(GATE) coverage run -m pytest $(ORDINARY) $(ARGS)
	@coverage combine --quiet
	@coverage report

check-slow: setup ## the tests that take minutes, with new random examples; SEED=n
	@seed=$(or $(SEED),$$(date +%s)); echo "seed $$seed; once more: make check-slow SEED=$$seed"; \
	PYTHONDONTWRITEBYTECODE= pytest -m slow --hypothesis-profile=fuzz --hypothesis-seed=$$seed $(ARGS)

fuzz: setup ## new random input for every test that hypothesis drives; SECONDS=120 SEED=n
	@python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: setup ## format, lint, types, import contracts
	ruff format --check .
	ruff check .
	mypy
	lint-imports

bench: setup ## measure; figures of the machine at hand
	@for script in $(filter-out bench/attack.py,$(wildcard bench/*.py)); do echo "== $$script"; python "$$script" || exit 1; done

chaos: setup ## kill, freeze, empty and repeat everything while tasks run, then audit; SECONDS=60 SEED=n
	@python bench/chaos.py $(CHAOS)

chaos-mutations: setup ## the same on three broken copies: the auditor must report each; SECONDS=20 SEED=n
	@python bench/chaos.py $(CHAOS) --mutations

attack: setup ## attack a running stack while another tenant works; status 1 if something gave way; SECONDS=280 ARGS=name
	@python bench/attack.py $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

conformance: setup ## Celery's own chord tests against our backend
	@python tests/conformance/run.py $(ARGS)

sbom: setup ## write sbom.cdx.json: what is installed, with versions, licences and who needs what (CycloneDX)
	@uv tool run --quiet --from $(CYCLONEDX) cyclonedx-py environment $(BIN)/python \
		--output-format JSON --output-reproducible --output-file sbom.cdx.json
	@echo "sbom.cdx.json lists $$(grep -c '"purl"' sbom.cdx.json) packages"

audit: setup ## ask PyPI for known vulnerabilities of the locked packages; fails where it can't be asked
	@told=$$(uv tool run --quiet --from $(PIP_AUDIT) pip-audit --strict --disable-pip --require-hashes --timeout 15 \
		--progress-spinner off --requirement requirements.lock 2>&1); code=$$?; echo "$$told"; \
	[ $$code -eq 0 ] && exit 0; case "$$told" in *"Found "*"known vulnerabilit"*) exit 1;; esac; \
	echo "NOT AUDITED: the database of vulnerabilities (https://pypi.org/pypi/NAME/VERSION/json) can't be asked from here:" \
		"what is said above is no result. Run it where that address answers" >&2; exit 2

lock: setup ## resolve requirements.lock anew
	@uv pip compile setup.cfg --quiet --no-config --universal --generate-hashes --python-version 3.11 \
		--extra embedded --extra executor --extra dev --upgrade --custom-compile-command 'make lock' -o requirements.lock

clean: ## remove the virtualenv, caches and the private servers' state
	@rm -rf $(VENV) .octollm .conformance .coverage .coverage.* htmlcov build dist *.egg-info \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache sbom.cdx.json
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
