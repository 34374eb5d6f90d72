# agencybus: `make demo` shows it, `make test` proves it. Needs Python 3.11+ and make; everything else is fetched.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CASES  ?= 300
SCALE  ?= 1

.PHONY: demo test check unit torture bench lock clean

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "agencybus needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/.ready          ## births cross four agencies on a real Kafka; DEMO="--keep" leaves it running
	$(BIN)/agencybus demo --cases $(CASES) $(DEMO)

check: $(VENV)/.ready         ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: check                   ## everything, real Kafka included
	$(BIN)/python -m pytest

unit: $(VENV)/.ready          ## seconds, no broker
	$(BIN)/python -m pytest -m "not kafka and not torture"

torture: $(VENV)/.ready       ## every bar in full, as one table and torture.json; SCALE=10 for more, SEED= for others
	SCALE=$(SCALE) $(BIN)/python -m pytest -m torture -s

# The peers are no dependency of ours; Quix Streams wants older versions than ours and lives apart.
$(VENV)/.bench: $(VENV)/.ready tests/bench/requirements.lock tests/bench/quix.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/bench/requirements.lock
	$(PYTHON) -m venv $(VENV)/quix
	$(VENV)/quix/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/bench/quix.lock
	@touch $@

bench: $(VENV)/.bench         ## ratios to named peers; `make -s bench` leaves nothing but JSON on stdout
	$(BIN)/python -m tests.bench

COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11

lock: $(VENV)/.ready          ## resolve pyproject.toml again
	$(COMPILE) --all-extras --group dev pyproject.toml -o requirements.lock
	$(COMPILE) --group bench --constraint requirements.lock -o tests/bench/requirements.lock
	$(COMPILE) --group bench-quix -o tests/bench/quix.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache
