# Two commands matter: `make demo` and `make test`. Both set up what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SIDEDOOR := $(BIN)/sidedoor
REPEAT := 3

.PHONY: help setup image demo demo-docker test check bench clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo          run the quickstart scenario in network namespaces (no root, no Docker needed), REPEAT=3 times'
	@echo 'make demo-docker   the same in containers'
	@echo 'make test          run every test this machine can run'
	@echo 'make check         ruff, mypy, import-linter'
	@echo 'make bench         the relay beside the other proxies on this machine, in two minutes'
	@echo 'make setup         only make .venv and install the locked dependencies'
	@echo 'make image         only build the image of the lab in containers'
	@echo 'make clean         remove .venv and caches (runs/ stays)'

setup: $(VENV)/.installed
	@sh lab/host-tools.sh netns

# The stamp is newer than the lock and the project file exactly when the environment is up to date.
$(VENV)/.installed: requirements.lock pyproject.toml
	@PYTHON='$(PYTHON)' sh lab/host-tools.sh python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing the locked dependencies into $(VENV): 550 MB, about a minute ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
	@echo 'installed: $(SIDEDOOR) --help'

demo: setup
	@$(SIDEDOOR) lab run quickstart --repeat $(REPEAT) --out runs/quickstart

image: setup
	@sh lab/host-tools.sh docker
	@sh lab/docker/build-image.sh

demo-docker: image
	@$(SIDEDOOR) lab run quickstart --runtime docker --repeat $(REPEAT) --out runs/quickstart-docker

# Most tests wait for timers and peers most of the time, each in namespaces or on ports of its own: they run side by side.
# Those that measure times or fill the machine have it for themselves, and so have Docker's: two of its labs cannot be up
# at a time (their networks have the same addresses), and the interfaces of its containers tell nobody whose they are.
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder

test: setup check
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not (alone or docker)'
	@$(BIN)/python -m pytest -m 'alone or docker'

check: $(VENV)/.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup
	@$(SIDEDOOR) bench relay --quick

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
