# Every target makes .venv by itself from the lock file, so that a fresh machine gets what was tested.
PYTHON ?= python3
BIN := .venv/bin
TESTS ?= tests

# .venv is made anew where its Python is gone or too old, and where the checkout was moved: its scripts and its link to
# the code hold the path at which it was made.
SOUND := $(shell .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& grep -qs ' $(CURDIR)/.venv$$' .venv/pyvenv.cfg && echo yes)
ifneq ($(SOUND),yes)
.PHONY: .venv/bin/python
endif

.DEFAULT_GOAL := help
.PHONY: help run docs test lint types check fix bench bench-quick torture lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.13 after any of them: the Python to make .venv with ($(PYTHON)); 3.11 or newer"

run: .venv/run ## serve on http://127.0.0.1:8080 with config.yaml
	@exec $(BIN)/jackfield serve --config config.yaml

test: .venv/test ## run all tests (TESTS=path for some)
	$(BIN)/python -m pytest -n 2 $(TESTS)

lint: .venv/test ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test ## mypy --strict
	$(BIN)/mypy

check: lint types test ## lint, types and tests

fix: .venv/test ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

torture: .venv/test ## the long forms of the crash tests
	$(BIN)/python -m pytest -m torture --timeout 3600 tests

docs: .venv/test ## write the parts of docs/architecture.md that the code prints
	$(BIN)/python -m tests.support.structure

bench: .venv/test ## measure beside the peers (about half an hour)
	$(BIN)/python -m benchmarks

bench-quick: .venv/test ## the same within a minute
	$(BIN)/python -m benchmarks --quick

lock: ## resolve the newest versions anew and write both lock files
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --upgrade setuptools
	.venv-lock/bin/pip install --quiet --editable '.[server]'
	.venv-lock/bin/pip freeze --all --exclude-editable --exclude pip > requirements.lock
	.venv-lock/bin/pip install --quiet --editable '.[test]'
	.venv-lock/bin/pip freeze --all --exclude-editable --exclude pip > requirements-test.lock
	rm -rf .venv-lock

clean: ## remove what the targets made (not var/, which holds uploads)
	rm -rf .venv .venv-lock build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Jackfield needs Python 3.11 or newer, and $(PYTHON) is none: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making .venv; the first time that takes a minute"
	$(PYTHON) -m venv --clear .venv

.venv/run: .venv/bin/python requirements.lock setup.cfg setup.py pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

.venv/test: .venv/run requirements-test.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-test.lock
	@touch $@
