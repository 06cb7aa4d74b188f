# One entrance for everything: `make demo` to see it, `make test` before a commit. Each sets itself up, once, in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
CODE := $(wildcard src tests bench chaos deploy)
WORKERS ?= 4  # on two cores: most of the time tests wait for processes

# The build backend comes from the lock too, so that the install of the project itself downloads nothing.
# A file that does not compile must not keep `make test` from saying so: hence the dash.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Loominal needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "Python has no venv module here: apt install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes --only-binary :all: --compile -r $(1)
	$(PIP) install --no-deps --no-build-isolation --editable .
	-$(BIN)/python -m compileall -q src
endef

.PHONY: demo test manual clients power-cut launch-faults fmt lint types shape bench soak chaos build lock clean

demo: $(VENV)/.run
	$(BIN)/loominal demo

# What fails beside the others is run once more, alone: real processes on a crowded machine. The first failure stays in the
# output, and is a fault to be found, in the test or in what it tests.
test: lint types shape
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder || { \
		test $$? -eq 1 && echo "== once more, alone ==" && \
		$(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

lint: $(VENV)/.dev
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

types: $(VENV)/.dev
	$(BIN)/mypy $(CODE)

shape: $(VENV)/.dev
	$(BIN)/python -m pytest -q tests/unit/test_shape.py

fmt: $(VENV)/.dev
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)

# Writes what docs/shuttle.md says of the commands.
manual: $(VENV)/.dev
	$(BIN)/python -m tests.manual

# Needs npm, and downloads about 2 GB into .clients, once; `make test` does without.
clients: $(VENV)/.dev .clients/.installed
	$(BIN)/python -m pytest --timeout 600 tests/clients

.clients/.installed: tests/clients/package.json
	mkdir -p .clients
	cp tests/clients/package.json .clients/
	npm install --prefix .clients --no-audit --no-fund --no-package-lock
	touch $@

# Needs root: it mounts the store's disk from a file and copies that in the middle of the work.
power-cut: $(VENV)/.dev
	POWER_CUTS=5 $(BIN)/python -m pytest -s tests/integration/test_power_cut.py

launch-faults: $(VENV)/.dev
	LAUNCH_SEEDS=0-49 $(BIN)/python -m pytest -s tests/integration/test_launch_faults.py

bench: $(VENV)/.run
	$(BIN)/python -m bench

soak: $(VENV)/.run
	$(BIN)/python -m bench.soak.run $(if $(MINUTES),--minutes $(MINUTES)) $(if $(AGENTS),--agents $(AGENTS))

# SEED=7 does again what it did before; without one each run is another.
chaos: $(VENV)/.dev
	$(BIN)/python -m chaos $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(WEFTS),--wefts $(WEFTS)) $(if $(OPEN),--open)

build: $(VENV)/.dev
	$(BIN)/python -m build --no-isolation --outdir dist

# Needs uv on PATH (CONTRIBUTING.md); everything else here works without it.
LOCK = uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet $(UPGRADE)
lock:
	$(LOCK) --group build --all-extras --output-file requirements.lock
	$(LOCK) --group dev --all-extras --constraint requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) .clients build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.run: requirements.lock pyproject.toml
	$(call install,requirements.lock)
	touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)
	touch $@ $(VENV)/.run
