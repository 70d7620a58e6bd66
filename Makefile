# Every target makes its own virtual environment first; a machine needs Python 3.11+ and make.
# uv is used where it is there (it is faster), venv and pip otherwise.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
UV := $(shell command -v uv 2>/dev/null)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint bench cover mutate clean

demo: $(READY)
	$(BIN)/holdfast demo

test: $(READY)
	$(BIN)/python -m pytest -q $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

bench: $(VENV)/.ready-bench
	$(BIN)/python -m benchmarks $(ARGS)

cover: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include='*/holdfast/_core/*,*/holdfast/policies/*' --fail-under=100

mutate: $(READY)
	$(BIN)/python tools/mutate.py $(ARGS)

$(READY): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Holdfast needs Python 3.11 or later; none was found. Set PYTHON=/path/to/python."; exit 1; fi
	@rm -rf $(VENV)
ifdef UV
	uv venv -q --python $(PYTHON) $(VENV)
	uv pip install -q --python $(BIN)/python -e '.[demo]' --group dev
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[demo]' --group dev
endif
	@touch $@

$(VENV)/.ready-bench: $(READY)
ifdef UV
	uv pip install -q --python $(BIN)/python --group bench
else
	$(BIN)/python -m pip install -q --disable-pip-version-check --group bench
endif
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis mutants .coverage*
