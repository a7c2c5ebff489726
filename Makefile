# Every target makes .venv by itself from the lock file, so that a fresh machine gets what was tested.
PYTHON ?= python3
BIN := .venv/bin
TESTS ?= tests

# The branches that `make coverage` looks at, in percent. Pure modules are run through whole; the others' floor may only
# rise. The commands and the client run in processes of their own in most tests, and are left out; so is what weighs memory, to which the measuring adds its own.
IN_PROCESS := $(filter-out tests/test_upload_client% tests/test_upload_command% tests/test_upload_tls.py \
	tests/test_app_memory.py, \
	$(wildcard tests/test_app_*.py tests/test_auth_*.py tests/test_upload_*.py))
PURE := app/errors.py,app/socket/frames.py,handlers/upload/wire/*,handlers/upload/store/records.py,handlers/upload/hooks/arrival.py
IMPURE := app/*,handlers/upload/handler.py,handlers/upload/sockets/*,handlers/upload/store/*,handlers/upload/uploads/*
FLOOR := 90

# .venv is made anew where its Python is gone or too old, and where the checkout was moved: its scripts and its link to
# the code hold the path at which it was made.
SOUND := $(shell .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& grep -qs ' $(CURDIR)/.venv$$' .venv/pyvenv.cfg && echo yes)
ifneq ($(SOUND),yes)
.PHONY: .venv/bin/python
endif

.DEFAULT_GOAL := help
.PHONY: help run docs test slow lint types coverage check fix bench bench-quick torture lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.13 after any of them: the Python to make .venv with ($(PYTHON)); 3.11 or newer"

run: .venv/run ## serve on http://127.0.0.1:8080 with config.yaml
	@exec $(BIN)/jackfield serve --config config.yaml

test: .venv/test ## run the tests but for the slow ones (TESTS=path for some, slow ones too)
	$(BIN)/python -m pytest -n 6 $(if $(filter tests,$(TESTS)),-m "not slow and not torture") $(TESTS)

slow: .venv/test ## run the slow ones: what is killed, cut off and installed again and again
	$(BIN)/python -m pytest -n 6 -m "slow and not torture" tests

lint: .venv/test ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test ## mypy --strict
	$(BIN)/mypy

coverage: .venv/test ## what the tests of single modules run through: all of the pure ones, most of the others
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n 2 $(IN_PROCESS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --show-missing --fail-under=100 --include='$(PURE)'
	$(BIN)/coverage report --skip-covered --fail-under=$(FLOOR) --include='$(IMPURE)'

check: lint types test slow coverage ## lint, types, all tests and coverage

fix: .venv/test ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

torture: .venv/test ## the long forms of the crash tests
	$(BIN)/python -m pytest -m torture --timeout 3600 tests

docs: .venv/test ## write the parts of docs/*.md that the code prints
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
	rm -rf .venv .venv-lock build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
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
