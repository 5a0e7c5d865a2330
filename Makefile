# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo/run
TOOLS := .venv-tools

.PHONY: demo test test-faults test-tools bench lint

$(VENV)/installed: pyproject.toml setup.py
	@echo "Installing MaskAL and PyTorch in $(VENV): some minutes, several GB."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

# The main job on demo data: draw images, then train, choose, retrain. The annotations are there already.
demo: $(VENV)/installed
	$(BIN)/python demo/make_dataset.py --out $(DEMO)/datasets
	$(BIN)/python maskAL.py --config demo/demo.yaml --fresh

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes with one thread each: more threads than cores make PyTorch many times slower. Bytecode is written, so that
# the programs that tests start, some hundreds, are not compiled anew each time.
test: lint
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

# The annotation tools themselves open what MaskAL writes. They need environments of their own: not all live together.
test-tools: $(VENV)/installed $(patsubst %,$(TOOLS)/%/installed,main labelme30 supervisely ultralytics)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m tools tests/tools

# Ultralytics runs on the PyTorch of .venv, so that there are not two of several GB.
PACKAGES_OF_TORCH := import pathlib, importlib.util as u; print(pathlib.Path(u.find_spec("torch").origin).parents[1])
OWN_PACKAGES := import sysconfig; print(sysconfig.get_path("purelib"))
$(TOOLS)/ultralytics/installed: tests/tools/requirements/ultralytics.txt $(VENV)/installed
	$(BIN)/python -m venv $(TOOLS)/ultralytics
	$(BIN)/python -c '$(PACKAGES_OF_TORCH)' > "$$($(TOOLS)/ultralytics/bin/python -c '$(OWN_PACKAGES)')/of_maskal.pth"
	$(TOOLS)/ultralytics/bin/python -m pip install --quiet --requirement $<
	touch $@

$(TOOLS)/%/installed: tests/tools/requirements/%.txt
	$(PYTHON) -m venv $(TOOLS)/$*
	$(TOOLS)/$*/bin/python -m pip install --quiet --upgrade pip
	$(TOOLS)/$*/bin/python -m pip install --quiet --requirement $<
	touch $@

# Whole runs are ended a hundred times by each signal, at random moments, and once at each step on the disk.
test-faults: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/kill_run.py --kills 100 --signal KILL TERM
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/kill_run.py --kills 20 --signal KILL TERM --tiles --work-ahead
	STEPS_BETWEEN_DEATHS=1 $(BIN)/python -m pytest tests/faults/test_every_step.py --timeout 3600

# Each script prints one table. benchmarks/RESULTS.md has what ours gave, and what slower scripts did.
bench: $(VENV)/installed
	@for name in device start_up annotations check data_loading inference training floor evaluation sampling dropout; do \
	  $(BIN)/python benchmarks/$$name.py || exit 1; \
	done
