# `make demo` and `make test` need Python 3.11-3.13 and nothing else: they create .venv here.
# A stamp remembers what was installed, so a second call is instant; a change of setup.cfg,
# setup.py or pyproject.toml installs again.
VENV := .venv
BIN := $(VENV)/bin
# Two processes: each imports TensorFlow, which costs seconds and about a gigabyte.
JOBS ?= 2
# The tests of one file run in one process: what they share is built once. Files in their order: those
# with few tests are long ones, and would come last.
PARALLEL := -n $(JOBS) --dist loadfile --no-loadscope-reorder
PYTEST_ARGS ?=
comma := ,
EXTRAS_TEST := test,edge,quantize
# Every extra. CUDA's libraries are several gigabytes: only where a driver could use them.
EXTRAS_ALL := test,browser,edge,fast-eval,hf-datasets,hub,jax,keras-hub,mediapipe,notebooks,onnx,openvino,plots,pretrained,quantize,safetensors,serving,tensorboard,tfds,video$(if $(shell command -v nvidia-smi 2>/dev/null),$(comma)gpu)

# Tests that run on every backend.
BACKEND ?= jax
BACKEND_INSTALLS = $(if $(filter jax,$(BACKEND)),".[test$(comma)jax]",".[test]" $(BACKEND))
CORE := tests/test_boxes.py tests/losses tests/targets

# How long `make fuzz` tries damaged data sets, and with which seed.
MINUTES ?= 5
SEED ?= 0

.PHONY: help demo test test-all test-backend coverage fuzz lint format clean

help:
	@echo "make demo      draw a data set, train, evaluate and export a small detector"
	@echo "make test      run every test           (PYTEST_ARGS='tests/metrics -x' for some)"
	@echo "make test-all  the same with every optional dependency installed"
	@echo "make test-backend  the tests of boxes, losses, targets on JAX  (BACKEND=torch for PyTorch)"
	@echo "make coverage  the same, and which lines of keras_det and export it runs"
	@echo "make fuzz      read damaged data sets for 5 minutes   (MINUTES=60 SEED=1 for others)"
	@echo "make lint      ruff check and format --check, mypy; notebooks hold no outputs"
	@echo "make format    let ruff rewrite the files, and remove the outputs of notebooks"
	@echo "make clean     remove .venv and what builds and tests left"

demo: $(VENV)/.installed-demo
	$(BIN)/keras-det demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

test-all: $(VENV)/.installed-all
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

# In a separate environment: if JAX or PyTorch is installed, the other tests use it too.
test-backend: $(VENV)-$(BACKEND)/.installed
	KERAS_BACKEND=$(BACKEND) $(VENV)-$(BACKEND)/bin/python -m pytest $(PARALLEL) $(CORE) $(PYTEST_ARGS)

$(VENV)-$(BACKEND)/.installed: setup.cfg setup.py pyproject.toml
	python=$${PYTHON:-$$(.ci/find_python)} && "$$python" -m venv --clear $(VENV)-$(BACKEND)
	$(VENV)-$(BACKEND)/bin/python -m pip install --quiet --editable $(BACKEND_INSTALLS)
	touch $@

coverage: $(VENV)/.installed-all
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PARALLEL) $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --seed $(SEED)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python .ci/notebooks.py

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python .ci/notebooks.py --write

clean:
	rm -rf $(VENV) $(VENV)-* build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage .coverage.*

# The interpreter is a link: if its Python was uninstalled, make sees no file and starts again.
$(BIN)/python:
	python=$${PYTHON:-$$(.ci/find_python)} && "$$python" -m venv --clear $(VENV)

$(VENV)/.installed-demo: setup.cfg setup.py pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[edge]"
	touch $@

$(VENV)/.installed-test: setup.cfg setup.py pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS_TEST)]"
	touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-all: setup.cfg setup.py pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS_ALL)]"
	touch $@ $(VENV)/.installed-test $(VENV)/.installed-demo
