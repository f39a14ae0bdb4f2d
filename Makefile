# `make` lists what there is. Everything runs in .venv, which is made when needed.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: help install demo demo-train test test-all lint clean

help:
	@echo "make demo        the five bundles' weights on synthetic cases: out/demo/report.html, a minute"
	@echo "make demo-train  a short training on synthetic brains: out/demo_train/report.html, minutes"
	@echo "make test        the quick tests"
	@echo "make test-all    all tests, the slow ones and those for a GPU too"
	@echo "make lint        ruff and mypy"
	@echo "make install     the environment alone; make clean removes it and out/"

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed, this is {sys.version}") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

install: $(INSTALLED)

demo: install
	$(PY) -m tools demo --out out/demo

demo-train: install
	$(PY) -m tools demo_train --out out/demo_train

test: install
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-all: install
	$(PY) -m pytest --hypothesis-profile thorough

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	rm -rf $(VENV) out
