# Everything a newcomer needs: `make demo` and `make test`. Each sets up its own .venv once.
PYTHON ?= python3
VENV := .venv
# "test,browser" also tries interactive drawings in Chromium, where there is one
EXTRAS ?= test
# "make test SLOW=--slow" also runs what is marked slow
SLOW ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
QUICK := tests/algebra tests/nn tests/measure/test_expect.py tests/measure/test_orbits.py tests/measure/test_empirical.py \
	tests/convert/test_cut.py tests/convert/test_errors.py tests/analysis/test_similarity.py tests/test_architecture.py

.PHONY: bench check demo devices docs figures fuzz newest oldest package quick test lint types format clean

demo: $(STAMP)
	$(BIN)/tnsim demo

test: $(STAMP) lint types
	$(BIN)/python -m pytest -n auto $(SLOW)
	$(MAKE) devices

# Before every commit, side by side: a minute or so
check: $(STAMP)
	$(MAKE) -j 3 lint types quick

quick: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -q $(QUICK)

# The quick tests (but those that only read files), and the first page of the documentation by copy and paste, with the
# oldest libraries that pyproject.toml allows, and with the newest that pip finds
oldest newest: %: .venv-%/.installed
	OMP_NUM_THREADS=1 .venv-$@/bin/python -m pytest -n auto -q $(filter-out tests/test_architecture.py,$(QUICK)) \
		tests/test_cli.py::test_help_has_an_example "tests/test_docs.py::test_code_runs_and_prints_what_the_page_says[index.md]"

# Wheel and sdist, in empty environments on every Python that is here
package: $(STAMP)
	$(BIN)/python tests/installed/everywhere.py

# Timings, as ratios, into docs/performance.md; some rows only: make bench ROWS="a b"
bench: $(STAMP)
	$(BIN)/python tests/bench/run.py $(ROWS)

# Every question on a pretend device, in a process of its own
devices: $(STAMP)
	OMP_NUM_THREADS=1 PRETEND_DEVICE=1 $(BIN)/python -m pytest -n auto tests/test_devices.py tests/test_pretend.py

# Random architectures against quadrature, as many as you like: make fuzz DRAWS=5000 SEED=0; what fails is in fuzz-failures.txt
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 DRAWS=$(or $(DRAWS),5000) SEED=$(or $(SEED),0) $(BIN)/python tests/fuzz/campaign.py

# The site, in docs/_build/html
docs: $(STAMP)
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html
	@echo "open docs/_build/html/index.html"

# The paper's experiments at their fast size; from caches where these are there
figures: $(STAMP)
	$(BIN)/tnsim figures all --fast

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tnsim needs Python 3.11 or newer; try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $(STAMP)

# One pip, that of $(VENV), installs into both; files are compiled when they are first imported
.venv-%/.installed: pyproject.toml constraints.txt tests/installed/versions.py $(STAMP)
	$(BIN)/python -m venv --clear --without-pip .venv-$*
	$(BIN)/python tests/installed/versions.py $* > .venv-$*/constraints.txt
	$(BIN)/python tests/installed/lending.py .venv-$*/bin/python
	$(BIN)/python -m pip --python .venv-$*/bin/python -qq --disable-pip-version-check install --no-compile \
		--constraint .venv-$*/constraints.txt --editable '.[all,pytest]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache
