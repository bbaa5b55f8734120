# Needs Python >= 3.11, make and git; everything else is installed into .venv from the lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The same number of threads everywhere: sums in the same order.
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: reproduce test site notebooks results claims model release mutants mutation-score lint clean

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

## The paper's figures and tables again, from committed results and exact computation (profile quick).
reproduce: $(VENV)/.installed
	mkdir -p build
	$(BIN)/papermill notebooks/00_reproduce.ipynb build/00_reproduce.ipynb --cwd notebooks -p profile quick --log-output --no-progress-bar

# Tests of one file, and cells of one notebook, stay in one process.
AT_ONCE := -n logical --maxprocesses 4 --dist loadfile

## Unit tests, then every notebook's outputs and figures against a fresh run, drawn into build/.
test: $(VENV)/.installed
	$(BIN)/python -m pytest $(AT_ONCE) tests
	rm -rf build/figures
	RSAIL_FIGURES=$(CURDIR)/build/figures $(BIN)/python -m pytest $(AT_ONCE) --nbval --nbval-current-env \
	  --nbval-sanitize-with tests/nbval_sanitize.cfg --nbval-cell-timeout 120 \
	  --ignore notebooks/00_reproduce.ipynb notebooks
	RSAIL_FIGURES=$(CURDIR)/build/figures $(BIN)/python -m pytest tests/redrawn_figures.py

## Everything to read as one static HTML site in build/site, from the committed notebooks as they are.
site: $(VENV)/.installed
	$(BIN)/python -m rsail.study.site --output build/site

## For authors: execute the notebooks in place and clean their metadata.
notebooks: $(VENV)/.installed
	$(BIN)/python -m rsail.study.notebooks

## Train every run of notebook 08's study again (22 minutes on 2 cores; numbers differ across CPUs).
results: $(VENV)/.installed
	$(BIN)/python -m rsail study --output data/results/biased_oracle

## The tables of claims in README.md and REPRODUCING.md, each claim computed anew (half a minute).
claims: $(VENV)/.installed
	$(BIN)/python -m rsail.study.claims

## Pretrain a reference model from the committed one's recipe, into build/ (3 minutes; weights differ across CPUs).
model: $(VENV)/.installed
	rm -rf build/model
	$(BIN)/python -m rsail pretrain --output build/model

## The release archive of a clean checkout, into build/release; `python -m rsail.study.release --verify` checks one.
release: $(VENV)/.installed
	$(BIN)/python -m rsail.study.release --output build/release

## Check that the test suite notices what it must: each constant halved, each sign flipped, a digit changed.
mutants: $(VENV)/.installed
	$(BIN)/python -m tests.mutants --output data/results/mutants
	$(BIN)/python -m tests.mutants.report

# mutmut has an environment of its own, which sees the locked one's packages: the lock is what readers install.
build/mutmut/.installed: $(VENV)/.installed
	$(PYTHON) -m venv build/mutmut
	build/mutmut/bin/python -c "import site, sys; open(site.getsitepackages()[0] + '/locked.pth', 'w').write(sys.argv[1])" \
	  "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')"
	build/mutmut/bin/python -m pip install --quiet "mutmut>=3.8,<4"
	touch $@

## Mutation testing with mutmut (an hour on one core): the estimators and objectives, and a sample of the exact engine.
mutation-score: build/mutmut/.installed
	build/mutmut/bin/python -m tests.mutation_score

lint: $(VENV)/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check rsail tests

clean:
	rm -rf build
