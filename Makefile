.DEFAULT_GOAL := help
.PHONY: help install demo test check lint types fmt dashboards up down clean
.PHONY: bench bench-control bench-ingest bench-loop bench-page bench-soak bench-peers

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TORCH  ?= 2.13.0
# PyTorch's own index of CPU builds; asked only when the configured indexes have none.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## Everything into .venv; CPU PyTorch where there is no GPU

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	@if [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
	  echo "no GPU here: PyTorch $(TORCH), CPU build"; \
	  $(BIN)/pip install -q "torch==$(TORCH)+cpu" 2>/dev/null \
	    || $(BIN)/pip install -q "torch==$(TORCH)" --index-url $(TORCH_CPU_INDEX); \
	fi
	$(BIN)/pip install -q -e '.[train,dev]'
	@touch $@

demo: install  ## Watch the loop close on this machine (about half a minute)
	$(BIN)/acr demo

test: install  ## Every test, with real servers and real training
	$(BIN)/python -m pytest

check: lint types  ## What CI asks of the code itself

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m dashboards.build --check

types: install
	$(BIN)/mypy

fmt: install  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dashboards: install  ## Write the dashboards' JSON from their code
	$(BIN)/python -m dashboards.build

bench: install  ## What hook and client cost a training step, beside plain TRL
	$(BIN)/python -m benchmarks.trainer

bench-control: install  ## What every control law decides, by simulation (some minutes)
	$(BIN)/python -m benchmarks.control

bench-ingest: install  ## CPU time of a report, against a plain service (2 minutes)
	$(BIN)/python -m benchmarks.ingest

bench-loop: install  ## How soon new settings reach a trainer, up to 500 of them (2 minutes)
	$(BIN)/python -m benchmarks.loop

bench-page: install  ## How soon a run's page is there, up to a million steps (2 minutes)
	$(BIN)/python -m benchmarks.page

bench-soak: install  ## 200 trainers for 10 minutes: nothing lost, nothing grows
	$(BIN)/python -m benchmarks.soak

bench-peers: install  ## The same step logged by MLflow, Trackio, W&B and others, where installed
	$(BIN)/python -m benchmarks.peers

up:  ## Redis, monitor, Prometheus and Grafana in containers
	docker compose up --detach --build --wait
	@echo "API http://127.0.0.1:8400/docs   Grafana http://127.0.0.1:3000   Prometheus http://127.0.0.1:9090"

down:  ## Stop them; the data stay in their volumes
	docker compose down

clean:  ## Remove everything that make made
	rm -rf $(VENV) .acr .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
