# make demo: set up, write the embedded data set, train a small detector, evaluate and draw it
# make test: set up, lint, types, all tests

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SCENES := datasets/scenes
RUN := output/demo

.PHONY: demo test lint types setup
.DELETE_ON_ERROR:

setup: $(VENV)/installed

$(VENV)/installed: constraints.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/python tools/make_scenes.py --output $(SCENES)
	$(BIN)/python tools/train_net.py --config-file configs/demo/mask_rcnn_scenes.py train.output_dir=$(RUN) \
		train.overwrite=true
	$(BIN)/python tools/plot_run.py $(RUN) --output $(RUN)/vis/curves.png
	$(BIN)/python tools/visualize_detections.py --json-file $(SCENES)/annotations/instances_val.json \
		--image-root $(SCENES)/val --results $(RUN)/inference/coco_instances_results.json \
		--output $(RUN)/vis/detections.png --sort name
	$(BIN)/python tools/evaluate_results.py --json-file $(SCENES)/annotations/instances_val.json \
		--results $(RUN)/inference/coco_instances_results.json
	@echo
	@echo "ground truth beside predictions: $(RUN)/vis/detections.png"
	@echo "loss and AP curves:              $(RUN)/vis/curves.png"
	@echo "run directory:                   $(RUN)"

test: lint types
	$(BIN)/python -m pytest -n auto

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy
