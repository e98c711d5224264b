# Two commands are enough: `make demo` and `make test`. Each makes .venv and installs what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test lint format soak bench peers docs texts lock clean

demo: $(STAMP)
	$(BIN)/tuneloop demo $(ARGS)

test: $(STAMP) lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not soak" $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix -q . || true
	$(BIN)/ruff format -q .

soak: $(STAMP)
	$(BIN)/python -m pytest -m soak $(ARGS)

bench: $(STAMP)
	$(BIN)/python -m bench $(ARGS)

# Other gateways, each in an environment of its own, for `make bench ARGS=gateway`; one that does not install is left out.
peers:
	@for peer in 'litellm litellm[proxy]' 'tensorzero tensorzero' 'sglang-router sglang-router' 'vllm-router vllm-router'; do \
	  set -- $$peer; $(PYTHON) -m venv .peers/$$1 && .peers/$$1/bin/pip install -q "$$2" || echo "without $$1"; done
	@mkdir -p .peers/portkey && cd .peers/portkey && npm install --silent @portkey-ai/gateway || echo "without portkey"

docs: $(STAMP)
	$(BIN)/python docs/generate.py

texts: $(STAMP)
	$(BIN)/python tuneloop/locale/update.py

lock: $(STAMP)
	$(BIN)/python deploy/lock.py

clean:
	rm -rf $(VENV) build dist *.egg-info

# torch is pinned in constraints.txt to one version whose CPU build is small; newer ones pull CUDA packages.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "tuneloop needs Python 3.11 or newer: apt-get install python3"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $(STAMP)
