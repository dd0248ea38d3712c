# make install   sets up .venv; every other target does that first where it is needed
# make demo      trains a tagger and a classifier on sample data, in minutes
# make check     lints and type-checks; make test, make test-all run the tests
# make bench     measures everything beside its peers and writes docs/benchmarks.md; make docs writes the generated pages

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SAMPLES := src/tunny/samples

.DEFAULT_GOAL := help
.PHONY: help install demo check test test-all bench docs

help:
	@sed -n 's/^# make/make/p' Makefile

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --use-pep517 --disable-pip-version-check --constraint constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --use-pep517 --disable-pip-version-check --constraint constraints.txt --editable ".[embedded,export,hub,mlflow,tensorboard,dev]"
	touch $(READY)

demo: install
	$(BIN)/tunny train $(SAMPLES)/ferry.yaml --output_dir runs/demo-classifier --overwrite
	$(BIN)/tunny train $(SAMPLES)/harbour.yaml --output_dir runs/demo-tagger --overwrite
	@echo
	@echo "Two models are trained, runs/demo-tagger and runs/demo-classifier; their scores and reports stand above. Try one:"
	@echo "  echo 'The Morning Star landed turbot in Lerwick on Friday.' | $(BIN)/tunny predict runs/demo-tagger/model - --out -"

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: install
	$(BIN)/python -m pytest -m "not slow"

test-all: install
	$(BIN)/python -m pytest

bench: install
	$(BIN)/python benchmarks/read_formats.py
	$(BIN)/python benchmarks/check_million.py
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/render.py

docs: install
	$(BIN)/tunny config --markdown > docs/config.md.new
	mv docs/config.md.new docs/config.md
	$(BIN)/python -c "from tunny.hf_arguments import page; print(page(), end='')" > docs/hf-scripts.md.new
	mv docs/hf-scripts.md.new docs/hf-scripts.md
