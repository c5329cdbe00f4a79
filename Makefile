# Two commands: `make demo` shows it, `make test` proves it. Everything else is `telltale --help`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint install clean

# The installed environment, made anew when what it is made from changes.
install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml constraints.txt deploy/install.sh
	PYTHON=$(PYTHON) bash deploy/install.sh $(VENV)
	@touch $@

demo: install
	$(BIN)/telltale demo $(if $(KEEP),--keep)

lint: install
	$(BIN)/ruff check agents tests
	$(BIN)/ruff format --check agents tests
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)

clean:
	rm -rf $(VENV) demo
