# The two commands of a fresh machine are `make demo` and `make test`.
SHELL := /bin/bash
VENV := .venv
PEERS := .venv-peers
BENCH := .venv-bench
PYTEST := -m pytest
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit spark e2e cluster peers bench lint format lock clean distclean

help:  ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: $(VENV)/.ready  ## virtual environment in .venv, pinned dependencies, Delta jars

$(VENV)/.ready: requirements.lock pyproject.toml scripts/setup.sh spark_uplift/spark/jars.py
	@scripts/setup.sh $(VENV) requirements.lock --package

$(PEERS)/.ready: requirements-peers.txt scripts/setup.sh
	@LEAST=3.11 scripts/setup.sh $(PEERS) requirements-peers.txt  # causalml 0.18 needs it

$(BENCH)/.ready: requirements-bench.txt scripts/setup.sh
	@LEAST=3.11 scripts/setup.sh $(BENCH) requirements-bench.txt

demo: setup  ## run the main job on a real randomised experiment
	@$(VENV)/bin/spark-uplift demo

test: unit spark e2e cluster peers  ## all tests, tier by tier

unit: setup  ## tests that need no JVM
	@echo "== tier: unit"
	@$(VENV)/bin/python $(PYTEST) tests/unit

spark: setup  ## tests with a local Spark session
	@echo "== tier: spark"
	@$(VENV)/bin/python $(PYTEST) tests/spark

e2e: setup  ## whole jobs, tables, report and model
	@echo "== tier: e2e"
	@$(VENV)/bin/python $(PYTEST) tests/e2e

cluster: setup  ## a standalone cluster and a Spark Connect server as processes; executors get killed (Linux)
	@echo "== tier: cluster"
	@$(VENV)/bin/python $(PYTEST) tests/cluster

peers: $(PEERS)/.ready  ## comparisons with other packages, in an environment of their own
	@echo "== tier: peers"
	@$(PEERS)/bin/python $(PYTEST) tests/peers

bench: setup $(BENCH)/.ready  ## benchmarks beside the peers; prints a table of ratios
	@$(VENV)/bin/python -m benchmarks --peers-python $(BENCH)/bin/python

lint: setup  ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: setup  ## let ruff format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock:  ## resolve the pinned lists anew (needs uv)
	uv pip compile --no-python-downloads pyproject.toml --extra spark --extra connect --extra mlflow --extra demo --extra dev --constraint requirements-known.txt \
		--universal --python-version 3.10 --no-annotate --custom-compile-command "make lock" -o requirements.lock
	uv pip compile --no-python-downloads pyproject.toml requirements-peers.in --constraint requirements-known.txt \
		--universal --python-version 3.11 --no-annotate --custom-compile-command "make lock" -o requirements-peers.txt
	uv pip compile --no-python-downloads benchmarks/requirements-peers.txt --constraint requirements-known.txt \
		--universal --python-version 3.11 --no-annotate --custom-compile-command "make lock" -o requirements-bench.txt

clean:  ## remove what runs and tests leave behind
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis spark-warehouse spark_uplift_out benchmarks/out
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean  ## remove the virtual environments as well
	rm -rf $(VENV) $(PEERS) $(BENCH)
