# Every target does its own set-up. `make` alone shows this list.
.DEFAULT_GOAL := help
SHELL := /bin/bash
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := .cache/uv
# Tests start hundreds of Python processes: without bytecode each of them compiles all that it imports, which doubles it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help site plan-image-test install conformance image image-test page-test peers keda demo test blackbox unit check fmt lint types imports crds proto docs bench bench-long tuning purchases bench-speed plan-speed plan-size plan-tests plan-check sandbox-up sandbox-down clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: $(STAMP) ## build .venv with everything (pinned by uv.lock)

$(STAMP): uv.lock pyproject.toml bench/pyproject.toml sandbox/pyproject.toml
	@command -v python3 >/dev/null || { echo "make: python3 (3.11 or newer) is needed"; exit 1; }
	@if command -v uv >/dev/null; then uv=uv; else \
	  echo "make: installing uv $(UV_VERSION) into $(TOOLS)"; \
	  python3 -m venv $(TOOLS) && $(TOOLS)/bin/pip install --quiet uv==$(UV_VERSION) && uv=$(TOOLS)/bin/uv; fi; \
	  $$uv sync --quiet --frozen --all-packages --all-extras --compile-bytecode
	@touch $(STAMP)

demo: install ## a real control plane, Prometheus, an emulated GPU fleet, a real trace: watch pertoken hold the cost
	@$(BIN)/pertoken-demo $(ARGS)

# Two lanes, each with a control plane of its own. tests/conftest.py puts the long files first, so that both end together.
LANES := -n 2 --dist loadfile --no-loadscope-reorder

test: install ## all tests, the end-to-end ones against the real API server and Prometheus included
	@$(BIN)/sandbox binaries
	@$(if $(ARGS),$(BIN)/pytest $(ARGS),$(BIN)/pytest --ignore=tests/blackbox $(LANES) && $(MAKE) --no-print-directory blackbox)

blackbox: install ## what users rely on, seen through the API server, metrics pages and the audit log alone
	@$(BIN)/sandbox binaries
	@$(BIN)/pytest tests/blackbox $(LANES) $(ARGS)

unit: install ## only the tests that need no control plane
	@$(BIN)/pytest -m "not e2e" $(LANES) $(ARGS)

check: lint types imports ## lint, types, layers

lint: install
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: install
	@$(BIN)/mypy

imports: install
	@$(BIN)/lint-imports

fmt: install ## format and apply safe fixes
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

crds: install ## write crds/ and the chart's copy from the pydantic models
	@$(BIN)/python -m pertoken.api.generate

proto: install ## generate the messages of KEDA's contract
	@cd operator && ../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. pertoken/scaler/externalscaler.proto

docs: crds ## write the generated reference pages, the chart's schema of settings and its dashboards
	@$(BIN)/python -m pertoken.cli.catalog_page
	@$(BIN)/python -m pertoken.cli.metrics_page
	@$(BIN)/python -m pertoken.cli.reference
	@$(BIN)/python -m pertoken_sandbox.dashboards

site: install ## the documents as a site in .cache/site; a link that leads nowhere is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: install ## run every policy on the shipped scenarios and write docs/benchmarks.md (about twelve minutes on two free cores)
	@$(BIN)/python -m pertoken_bench.report $(ARGS)

bench-long: install ## more traffic, models, GPUs, pools and start-ups: docs/benchmarks-long.md (about four hours; it goes on where it was stopped)
	@$(BIN)/python -m pertoken_bench.report.long $(ARGS)

tuning: install ## half and double of every number that decides: write docs/tuning.md (15 minutes; ARGS=--quick: 4)
	@$(BIN)/python -m pertoken_bench.sensitivity $(ARGS)

purchases: install ## capacity bought on half of a recorded demand, paid on the other: docs/purchase.md (a minute)
	@$(BIN)/python -m pertoken_bench.purchases $(ARGS)

plan-tests: install ## back-tests of the capacity plan's forecasts on recorded traffic: docs/capacity.md (a quarter of a minute)
	@$(BIN)/python -m pertoken_bench.plan_tests $(ARGS)

plan-check: install ## the capacity plan's fleets simulated on days that came: docs/capacity.md (a minute)
	@$(BIN)/python -m pertoken_bench.plan_check

bench-speed: install ## simulated requests per second, and memory
	@$(BIN)/python -m pertoken_bench.speed

plan-speed: install ## CPU seconds of planning cycles, by stage (ARGS="--services 5000")
	@$(BIN)/python -m pertoken_bench.plan_speed $(ARGS)

plan-size: install ## CPU seconds and memory of a capacity plan of 500 services on 6 pools over 28 days (ARGS="--services 50")
	@$(BIN)/python -m pertoken_bench.plan_size $(ARGS)

conformance: install ## the real vLLM on the CPU beside the emulated engine and the simulator (6 GB, opt-in)
	@$(BIN)/python -m pertoken_sandbox.conformance $(ARGS)

image: install ## the operator's image, built here without a container daemon (root, Debian's packages, opt-in)
	@$(BIN)/python -m pertoken_sandbox.image $(ARGS)

image-test: image ## what is in it, and the chart's pod on its root file system against a real control plane
	@$(BIN)/sandbox binaries
	@PERTOKEN_IMAGE=.cache/image $(BIN)/pytest tests/image/test_image.py $(ARGS)

plan-image-test: install ## the capacity plan's image, built here likewise, and a plan made inside it (opt-in)
	@$(BIN)/python -m pertoken_sandbox.image --name pertoken-plan $(ARGS)
	@PERTOKEN_PLAN_IMAGE=.cache/image $(BIN)/pytest tests/image/test_plan_image.py

page-test: install ## the plan's page in a real browser: widths, schemes, paper; pictures in .cache/page (chromium, opt-in)
	@chromium=$$(command -v chromium chromium-browser google-chrome | head -1); \
	  [ -n "$$chromium" ] || { echo "make: chromium is needed (Debian: apt-get install chromium)"; exit 1; }; \
	  PERTOKEN_CHROMIUM=$$chromium $(BIN)/pytest tests/page -n 0 $(ARGS)

peers: install ## the real HPA controller, the real KEDA and pertoken, live on the same trace (20 minutes, opt-in)
	@$(BIN)/python -m pertoken_sandbox.peers $(ARGS)

keda: install ## pertoken's set-point written by the real KEDA and HPA, and by pertoken, on the same trace: docs/keda.md (20 minutes, opt-in)
	@$(BIN)/python -m pertoken_sandbox.peers.lent $(ARGS)

sandbox-up: install ## start control plane, Prometheus and fleet, and leave them running
	@$(BIN)/sandbox up

sandbox-down: install ## stop them
	@$(BIN)/sandbox down

clean: ## remove the environment and what tests leave behind
	@rm -rf $(VENV) .sandbox .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-out
