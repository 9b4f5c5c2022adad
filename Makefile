# Everything sets itself up inside the checkout: .venv (Python) and .tools (anvil, npm clients).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo test simulate mutants differential crash bench soak lint fmt schema diagram lock clean

help:  ## Show these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/base.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo 'Tollway needs Python 3.11 to 3.13; say which: make PYTHON=python3.13 ...' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing Tollway into $(VENV) ...'
	@$(BIN)/pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/base.stamp
	@echo 'installing test dependencies into $(VENV) ...'
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(VENV)/base.stamp  ## A purchase on this machine, nothing configured (RAIL=conxa: by wallet; ONCE=1 exits after it)
	@$(BIN)/tollway demo $(if $(RAIL),--rail $(RAIL)) $(if $(ONCE),--once)

test: $(VENV)/dev.stamp  ## All tests: real Redis, real chain, real official clients
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

simulate: $(VENV)/dev.stamp  ## N=200000 SEED=1: that many simulated histories with faults at every await
	@PYTHONPATH=.:tests PYTHONHASHSEED=0 $(BIN)/python -m simulation --histories $(or $(N),200000) \
	  --seed $(or $(SEED),1) $(if $(TRACE),--trace $(TRACE))

mutants: $(VENV)/dev.stamp  ## Planted bugs, each of which the simulated histories must catch
	@PYTHONPATH=.:tests PYTHONHASHSEED=0 $(BIN)/python -m simulation.hunt --seed $(or $(SEED),1)

differential: $(VENV)/dev.stamp  ## N=20000 SEED=1: that many requests to our facilitator and to the official one
	@PYTHONPATH=.:tests $(BIN)/python -m differential --number $(or $(N),20000) --seed $(or $(SEED),1)

# Ends with 1 and says where the evidence is if money or an answer was lost. SEED repeats a run's plan.
STORE ?= both
crash: $(VENV)/dev.stamp  ## Kill the gateway N=100 times while people buy (RAIL=x402|x402-remote|conxa, SEED=, STORE=embedded|redis|both)
	PYTHONPATH=tests $(BIN)/python -m crash --rail $(or $(RAIL),x402) --cycles $(or $(N),100) --store $(STORE) \
	  $(if $(SEED),--seed $(SEED))

# TREE: one more checkout, or NAME=PATH, measured beside this one in the same rounds. PEERS=none leaves others out.
BENCH = PYTHONPATH=.:tests $(BIN)/python -P -m bench
bench: $(VENV)/dev.stamp  ## Measure beside peers and limits, write docs/performance.md (ONLY=free,paid ROUNDS= SECONDS= TREE= PEERS= OUT= RENDER=1)
	@$(BENCH) $(if $(RENDER),--render) $(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(foreach tree,$(TREE),--tree $(tree)) $(if $(PEERS),--peers '$(PEERS)') \
	  $(if $(OUT),--out $(OUT))

soak: $(VENV)/dev.stamp  ## MINUTES=60 of mixed load: whether memory grows
	@$(BENCH) --only soak --minutes $(or $(MINUTES),60)

lint: $(VENV)/dev.stamp  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(VENV)/dev.stamp  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(VENV)/base.stamp  ## Write config/gateway.schema.json anew
	$(BIN)/python -m gateway.schema > config/gateway.schema.json

diagram: $(VENV)/base.stamp  ## Draw the states in docs/life-of-a-payment.md anew
	$(BIN)/python -m gateway.diagram

# The image runs this Python: wheels are pinned by hash for every platform, markers are resolved for it.
lock: pyproject.toml  ## Write requirements.lock anew, with the newest versions pyproject.toml allows
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' \
	  || { echo 'the image runs Python 3.13; say where it is: make lock PYTHON=python3.13' >&2; exit 1; }
	@rm -rf .tools/lock && $(PYTHON) -m venv .tools/lock
	@.tools/lock/bin/pip install -q --disable-pip-version-check 'pip-tools>=7.6,<8'
	@.tools/lock/bin/pip-compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-trusted-host \
	  --no-emit-find-links --strip-extras --no-annotate --no-header --output-file .tools/lock/pinned pyproject.toml
	@{ sed -n '/^#/!q;p' requirements.lock; cat .tools/lock/pinned; } > .tools/lock/whole
	@mv .tools/lock/whole requirements.lock

clean:  ## Remove what make installed
	rm -rf $(VENV) .tools
