# The steps that CI runs, by name. `make check` is all of them; .ci/run adds the wheel.
PYTHON := .venv/bin/python

.PHONY: help check format format-check lint types test bench bench-hub slow bare chaos chaos-deploy demo man wheel

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

check: format-check lint types test ## what CI runs: format, lint, types, tests

format: $(PYTHON) ## rewrite the files as the formatter has them
	$(PYTHON) -m ruff format
	$(PYTHON) -m ruff check --fix

format-check: $(PYTHON)
	$(PYTHON) -m ruff format --check

lint: $(PYTHON) ## ruff
	$(PYTHON) -m ruff check

types: $(PYTHON) ## mypy --strict
	$(PYTHON) -m mypy

test: ## set up what is missing, then pytest
	./scripts/test

bench: $(PYTHON) ## side by side with other supervisors; writes bench/RESULTS.md (ARGS=--quick; see bench/README.md)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(PYTHON) bench/run.py $(ARGS)

bench-hub: $(PYTHON) ## load on one hub process, and the growth of its log; writes bench/HUB.md
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[hub]'
	growth=$$(mktemp) && $(PYTHON) -m bench.hub_log >$$growth && $(PYTHON) -m bench.hub --growth $$growth $(ARGS); rm -f $$growth

slow: $(PYTHON) ## the tests that take minutes: every row of the failure table of a deploy (as root)
	$(PYTHON) -m pytest -n 2 -m slow --ignore tests/bare

bare: $(PYTHON) ## the set-up of machines and hosts on a debootstrapped Debian that has nothing (as root; minutes)
	$(PYTHON) -m pytest -n 0 -m slow tests/bare $(ARGS)

chaos-deploy: $(PYTHON) ## ten minutes of deploys to a lab whose hosts and coordinators die (as root; ARGS="--seed 7")
	$(PYTHON) tests/chaos_deploy.py $(ARGS)

chaos: $(PYTHON) ## ten minutes of kills, reloads, scales and floods (ARGS="--seconds 60 --seed 7")
	$(PYTHON) tests/chaos.py $(ARGS)

demo: ## make the instance kickass and run it
	./scripts/demo

man: $(PYTHON) ## man/ampzero.1, the manual page, from the help of the commands
	$(PYTHON) scripts/manpage man/ampzero.1

wheel: $(PYTHON) ## dist/ampzero-*.whl
	$(PYTHON) -m build --wheel

SHELL := /bin/bash

$(PYTHON):
	. scripts/common.sh && yes=1 need_venv dev
