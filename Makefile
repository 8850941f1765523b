# `make lab` shows a whole run, `make test` tests it; each installs what it needs into .venv, once.
.DEFAULT_GOAL := help
.PHONY: help lab test test-all test-notebooks test-grading test-unsloth test-unsloth-kernels test-gpu check-install
.PHONY: lint format data notebooks site bench bench-blocks clean

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
TORCH := $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt)
PINS := pyproject.toml constraints.txt
# A file's tests stay together, as they share what they make; each process has two gigabytes.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-28s%s\n", $$1, $$2}'

lab: .venv/.lab ## Run all stages on the bundled data (a minute or two, offline) into runs/tiny
	@$(BIN)/distill-lab run --profile tiny --out runs/tiny

test: .venv/.dev ## The default tests: no GPU, no network, nothing slow (about 4 minutes on two cores)
	@$(BIN)/python -m pytest $(PARALLEL)

test-all: .venv/.dev ## The slow tests and those of notebooks too, and all self-tests of grading
	@$(BIN)/python -m pytest -m "not gpu and not network and not unsloth" $(PARALLEL)
	@$(BIN)/python -m tests.self_tests --all

test-notebooks: .venv/.dev ## Are the notebooks in step with their sources, and do they all run? (some minutes, offline)
	@$(BIN)/distill-lab notebooks check
	@$(BIN)/python -m pytest -m notebook --durations 12 tests/course/test_notebooks.py tests/course/test_lab_notebooks.py

test-grading: .venv/.dev ## Does grading give what is due? A made-up class, wrong answers, the self-test of each lab that changed
	@$(BIN)/python -m pytest -m "notebook and not slow" tests/course/grading
	@$(BIN)/python -m pytest -m "grading and not slow" $(PARALLEL) tests/course
	@$(BIN)/python -m tests.self_tests

test-unsloth: .venv-unsloth/.unsloth ## The tests of the Unsloth backend, on Unsloth's own CPU backend (about 4 minutes)
	@.venv-unsloth/bin/python -m pytest -m unsloth tests/models/test_unsloth*.py

check-install: .venv/.dev ## Does `.[gpu]` resolve for Python 3.10 to 3.13? (network; metadata only)
	@$(BIN)/python -m pytest -m network -s tests/course/test_resolver.py

test-gpu: ## The tests that need a CUDA GPU, in a Python of your own that has .[gpu,dev]: make test-gpu PYTHON=...
	@CUDA_VISIBLE_DEVICES=$${CUDA_VISIBLE_DEVICES:-0} $(PYTHON) -m pytest -m "gpu and not network" -rs
test-unsloth-kernels: .venv-unsloth/.kernels ## The same on Unsloth's GPU half, and TRL's kernel, with Triton's interpreter on a CPU (about 6 minutes)
	@UNSLOTH_ALLOW_CPU=1 .venv-unsloth/bin/python -m pytest -m unsloth tests/models/test_unsloth.py
	@TRITON_INTERPRET=1 .venv-unsloth/bin/python -m pytest -m slow tests/training/test_trl_distillation.py -k kernel

site: .venv-site/.site runs/tiny/report.html ## The course as a web site, from stored outputs (a minute), in build/site/html
	@rm -rf build/site
	@$(BIN)/python -m docs.collect build/site
	@.venv-site/bin/sphinx-build -q -E -W --keep-going -c docs build/site/pages build/site/html
	@$(BIN)/python -m docs.check_links build/site/html
	@echo "Open build/site/html/index.html"

runs/tiny/report.html: .venv/.lab
	@$(BIN)/distill-lab run --profile tiny --out runs/tiny

lint: .venv/.dev ## ruff (rules and format) and pyright
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pyright --pythonpath $(BIN)/python

format: .venv/.dev ## Let ruff mend and format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

data: .venv/.lab ## Make the bundled questions and reviews again (data/mini_squad, data/mini_sst2)
	@$(BIN)/python -m data.mini_squad.make
	@$(BIN)/python -m data.mini_sst2.make

notebooks: .venv/.dev ## Write all notebooks from lab_notebooks/source (some minutes, offline); a fork: REPOSITORY=OWNER/NAME
	@$(BIN)/distill-lab notebooks build $(if $(REPOSITORY),--repository $(REPOSITORY))

bench: .venv-bench/.bench ## Measure the engine against its peers (about an hour, nothing else running)
	@.venv-bench/bin/python -m benchmarks

bench-blocks: .venv/.dev ## Time a model with fewer blocks and one with zeros alone (five minutes, nothing else running)
	@$(BIN)/python -m benchmarks blocks --repeats 3 --out benchmarks/results/blocks

clean: ## Remove caches and build products (.venv* and runs stay)
	@rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	@find . -path './.venv*' -prune -o -name __pycache__ -type d -exec rm -rf {} +

# The first Python of 3.10 to 3.13; a .venv that was begun and not finished is taken away.
$(BIN)/python:
	@for python in "$(PYTHON)" python3.13 python3.12 python3.11 python3.10; do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then \
	    echo "Making .venv with $$("$$python" --version) ($$python)"; \
	    "$$python" -m venv .venv && exit; \
	    rm -rf .venv; exit 1; \
	  fi; \
	done; \
	echo "Expected Python 3.10 to 3.13, found $$("$(PYTHON)" --version 2>/dev/null || echo "no $(PYTHON)")." \
	  "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1

# torch first: if that download fails, it fails before all the others.
.venv/.torch: constraints.txt | $(BIN)/python
	@echo "Installing $(TORCH) (once; a few minutes)"
	@$(PIP) install -c constraints.txt "$(TORCH)"
	@touch $@

.venv/.lab: $(PINS) .venv/.torch
	@echo "Installing distill_lab"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

.venv/.dev: $(PINS) .venv/.torch
	@echo "Installing distill_lab and the development tools"
	@$(PIP) install -c constraints.txt -e ".[dev]"
	@touch .venv/.lab $@

# The peers have an environment of their own, of the same Python. An older TRL lies in a folder beside them.
BENCH_PIP := .venv-bench/bin/python -m pip --disable-pip-version-check -qq
BENCH_PINS := $(wildcard benchmarks/requirements*.txt)

.venv-bench/.bench: $(PINS) $(BENCH_PINS) | $(BIN)/python
	@echo "Installing the peers into .venv-bench (once; a few minutes, 2.6 GB)"
	@$(BIN)/python -m venv --clear .venv-bench
	@$(BENCH_PIP) install -c constraints.txt "$(TORCH)"
	@grep -v "^torchao" constraints.txt >.venv-bench/constraints.txt  # torchtune wants an older one
	@$(BENCH_PIP) install -c .venv-bench/constraints.txt -e . -r benchmarks/requirements.txt
	@$(BENCH_PIP) install --no-deps --target .venv-bench/trl-torch -r benchmarks/requirements-trl-torch.txt
	@touch $@

# Unsloth changes transformers for a whole process, so it has an environment of its own, on top of what .venv has. Its
# own requirements would bring bitsandbytes, xformers, torchvision and more; its CPU backend needs none of them.
UNSLOTH_PIP := .venv-unsloth/bin/python -m pip --disable-pip-version-check -qq
PACKAGES := -c "import sysconfig; print(sysconfig.get_path('purelib'))"

.venv-unsloth/.unsloth: $(PINS) tests/requirements-unsloth.txt .venv/.dev
	@echo "Installing Unsloth into .venv-unsloth (once)"
	@$(BIN)/python -m venv --clear .venv-unsloth
	@echo "import site; site.addsitedir('$$($(BIN)/python $(PACKAGES))')" > $$(.venv-unsloth/bin/python $(PACKAGES))/venv.pth
	@$(UNSLOTH_PIP) install --no-deps -r tests/requirements-unsloth.txt
	@touch $@

# Sphinx and its theme, on top of what .venv has.
.venv-site/.site: docs/requirements.txt .venv/.dev
	@echo "Installing Sphinx into .venv-site (once)"
	@$(BIN)/python -m venv --clear .venv-site
	@echo "import site; site.addsitedir('$$($(BIN)/python $(PACKAGES))')" > $$(.venv-site/bin/python $(PACKAGES))/venv.pth
	@.venv-site/bin/python -m pip --disable-pip-version-check -qq install -r docs/requirements.txt
	@touch $@

.venv-unsloth/.kernels: .venv-unsloth/.unsloth tests/requirements-unsloth-kernels.txt
	@echo "Installing Triton into .venv-unsloth (once; 1 GB)"
	@$(UNSLOTH_PIP) install --no-deps -r tests/requirements-unsloth-kernels.txt
	@touch $@
