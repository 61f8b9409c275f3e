# `make` alone lists the targets. Settings go in ARGS: make stage1 ARGS="name=mine classifier=cam"
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
ARGS ?=

READY := $(VENV)/.installed
RUN := $(VENV)/bin/python
# one process a core, one thread each: threads of several processes that wait for each other slow all of them down;
# a process that crashes is a failed test: restarted, it would crash again or be waited for in vain
TEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile --max-worker-restart=0

.DEFAULT_GOAL := help
.PHONY: help install demo stage1 stage2 stage3 test test-release test-fast faults lint types layers docs dist clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## the environment, in .venv

$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --disable-pip-version-check -c $(CONSTRAINTS) -e '.[demo,dev]'
	touch $@

demo: $(READY) ## everything on the embedded benchmark: data, three stages, the baseline, a report
	$(RUN) -m stages.demo experiment=demo $(ARGS)

stage1: $(READY) ## photos, tags and saliency -> classifier
	$(RUN) -m stages.stage1 $(ARGS)

stage2: $(READY) ## classifier -> pseudo-masks
	$(RUN) -m stages.stage2 $(ARGS)

stage3: $(READY) ## pseudo-masks -> segmenter
	$(RUN) -m stages.stage3 $(ARGS)

test: lint types layers ## lint, types, import layers and the tests
	$(TEST) -m "not release" $(ARGS)

test-release: $(READY) ## tutorial, notebook, site and wheel as they stand, sweeps on other engines
	$(TEST) -m release $(ARGS)

test-fast: lint ## lint and the fast tests
	$(TEST) -m "not slow" $(ARGS)

faults: $(READY) ## kill every stage at random, 50 times, and compare what comes out
	$(RUN) -m tests.faults.soak $(ARGS)

lint: $(READY) ## ruff, rules and format, and spelling
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/typos

types: $(READY) ## mypy, strict
	$(VENV)/bin/mypy

layers: $(READY) ## who may import whom
	$(VENV)/bin/lint-imports

docs: $(READY) ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

dist: $(READY) ## wheel and sdist, in dist/
	$(RUN) -m hatchling build

clean: ## remove caches and builds; .venv and runs stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find eps stages tests -type d -name __pycache__ -prune -exec rm -rf {} +
