# Everything a fresh machine needs besides Python 3.11+, git and make is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: help install demo test check bench docs clean

help:
	@echo "make demo    search real handwritten digits: leaderboard, report, exported model"
	@echo "make test    the tests"
	@echo "make check   format, lint, types, import arrows"
	@echo "make bench   every benchmark, quickly, with its claims checked"
	@echo "make docs    the documentation as a site in site/"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Vitruvius needs Python 3.11 or newer; $(PYTHON) is older. Give one: make PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/vitruvius demo

test: $(STAMP)
	$(BIN)/pytest -q -n 2

test-compiled:  ## the tests of torch.compile, which take minutes
	$(BIN)/pytest -q -n 2 -m compiling

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

bench: $(STAMP)
	@for script in benchmarks/*.py; do \
		case $$script in benchmarks/_*) continue;; esac; \
		echo "== $$script"; $(BIN)/python $$script --quick --check || exit 1; \
	done

docs: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python docs/generate.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site *.egg-info .ruff_cache .pytest_cache .hypothesis
