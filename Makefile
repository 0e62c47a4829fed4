# Two commands matter: `make run` and `make test`. Everything else is for people who change the code.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    ?= distill-report
TRACES ?=
WORKERS ?= 2

export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help run test test-all test-dspy test-ray bench bench-students bench-gateway bench-log bench-curation lint format requirements clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.base: requirements/base.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

run: $(VENV)/.base  ## Run the whole loop on the example traces, or on your own: make run TRACES=file.jsonl
	$(BIN)/distill run $(TRACES) --out $(OUT)
	@echo "The program is $(BIN)/distill; for this shell: source $(BIN)/activate"

test: $(VENV)/.dev  ## Everyday tests: lint, types, layers, tests
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist worksteal

test-all: $(VENV)/.dev  ## Everything, the long suites included; a skipped test is a failure
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest --fail-on-skip

test-dspy:  ## Prompt optimization through the real dspy, in an environment of its own
	$(PYTHON) -m venv .venv-dspy
	.venv-dspy/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dspy.txt
	PATH="$(CURDIR)/.venv-dspy/bin:$$PATH" .venv-dspy/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	.venv-dspy/bin/python -m pytest -W default tests/optimize

test-ray:  ## Curation on a local Ray cluster of two nodes, in an environment of its own
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/ray.txt
	PATH="$(CURDIR)/.venv-ray/bin:$$PATH" .venv-ray/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	.venv-ray/bin/python -m pytest -W default tests/curate/ray_cluster.py

bench: $(VENV)/.dev  ## Print every figure that we claim, with its data, n and interval
	$(BIN)/python -m benchmarks

bench-students: $(VENV)/.dev  ## Agreement, coverage and cost of student and baselines, written to benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks students --write

bench-gateway: $(VENV)/.dev  ## What a request costs the gateway, beside other servers, written to benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks gateway --write

bench-log: $(VENV)/.dev  ## Print the figures of the decision log alone
	$(BIN)/python -m benchmarks log

bench-curation: $(VENV)/.dev  ## What a smaller training set costs, and what curation itself costs
	$(BIN)/python -m benchmarks curation curation-speed

bench-products: $(VENV)/.dev  ## Print the figures of the data products on a million decisions
	$(BIN)/python -m benchmarks products

lint: $(VENV)/.dev  ## Style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

requirements:  ## Pin the dependencies anew, with hashes and without addresses (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --no-annotate --upgrade --group build pyproject.toml -o requirements/base.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --no-annotate --upgrade --group build --group dev --extra arrow --extra model2vec --extra notify --extra postgres pyproject.toml -o requirements/dev.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --no-annotate --upgrade --group build --group dspy --extra dspy pyproject.toml -o requirements/dspy.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --no-annotate --upgrade --group build --group ray --extra ray pyproject.toml -o requirements/ray.txt

clean:  ## Remove what the other commands made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache $(OUT)
