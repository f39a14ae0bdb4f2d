# `make` lists what there is. Everything runs in .venv, which is made when needed.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test test-all lint clean

help:
	@echo "make demo      a synthetic brain by the shipped weights, then a short training and out/demo/report.html"
	@echo "make test      the quick tests"
	@echo "make test-all  all tests, the slow ones and those for a GPU too"
	@echo "make lint      ruff and mypy"
	@echo "make install   the environment alone; make clean removes it and out/"

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed, this is {sys.version}") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

install: $(INSTALLED)

demo: install
	$(PY) -m tools demo --out out/demo

test: install
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-all: install
	$(PY) -m pytest

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	rm -rf $(VENV) out
