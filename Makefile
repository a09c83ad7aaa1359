# Two commands matter: `make demo` and `make test`. Each does all of its own set-up in .venv.
# PINS and ROS choose another environment, with a folder of its own: `make test PINS=workstation`, `make test ROS=kilted`.
# Needs Python 3.10-3.12, git, make and a C++ compiler; no GPU, no data set, no account.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
# vehicle: NumPy 1.26, as on Ubuntu 24.04. workstation: NumPy 2 and the newest pyarrow and Rerun.
PINS   ?= vehicle
# ROS 2 from pip's wheels: jazzy, kilted or none. Where one is sourced, that is used.
ROS    ?= jazzy
VENV   ?= .venv$(addprefix -,$(filter-out vehicle,$(PINS)))$(addprefix -,$(filter-out jazzy,$(ROS)))
OUT    ?= out
SEED   ?= 0
N      ?= 6000
MODEL  ?= models/pillar-toytown.onnx
# A drive the shipped model was not trained on (see models/pillar-toytown.md).
DEMO_SEED ?= 7
# How much of the demo's drive is played at its recorded pace, for the latency, seconds.
LATENCY_S ?= 6
REAL_DATA ?= $(if $(LIDARLOOP_REAL_DATA),$(LIDARLOOP_REAL_DATA),../shared/data)

comma := ,
# Of Python 3; NumPy 2.4, pyarrow 26 and Rerun 0.41 have none for 3.10.
OLDEST := $(if $(filter workstation,$(PINS)),11,10)
# NumPy 1 alone.
DEVKIT := $(if $(filter vehicle,$(PINS)),$(comma)devkit)
ifeq ($(filter vehicle workstation,$(PINS)),)
$(error received PINS=$(PINS); expected vehicle or workstation)
endif
ifeq ($(filter jazzy kilted none,$(ROS)),)
$(error received ROS=$(ROS); expected jazzy, kilted or none)
endif

# Of the tests, what each environment is for; none named: all.
TESTS ?= $(if $(filter kilted,$(ROS)),tests/ros,$(if $(filter workstation,$(PINS)),tests/core tests/training tests/export tests/ros))

BIN := $(abspath $(VENV))/bin
CONSTRAINTS := constraints$(addprefix -,$(filter-out vehicle,$(PINS))).txt
# A later torch on the index may be another build; the pins name the one that was tried.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
PACKAGES := -e ros2_ws/src/lidarloop_core -e ros2_ws/src/lidarloop_ros
MANIFESTS := pyproject.toml $(wildcard constraints*.txt) tools/setup_ros.py $(wildcard ros2_ws/src/*/setup.py) \
  $(shell find ros2_ws/src/pip_ros -type f -not -path '*/__pycache__/*')

# Where ROS 2 is installed from apt and sourced, its own rclpy is used instead of the wheels.
ifdef ROS_DISTRO
ifneq ($(filter-out vehicle jazzy $(ROS_DISTRO),$(PINS) $(ROS)),)
$(error received PINS=$(PINS) ROS=$(ROS), but ROS 2 $(ROS_DISTRO) is sourced, built for its own NumPy: use a shell without it)
endif
VENV_OPTIONS := --system-site-packages
else ifneq ($(ROS),none)
PIP += -c constraints-$(ROS).txt
ROS_EXTRAS := $(if $(filter kilted,$(ROS)),$(comma)ros-kilted,$(comma)ros$(comma)ros-build)
endif
SETUP_ROS := $(if $(filter none,$(ROS)),@: no,$(BIN)/python) tools/setup_ros.py

export VIRTUAL_ENV := $(abspath $(VENV))
export AMENT_PREFIX_PATH := $(VIRTUAL_ENV)$(if $(AMENT_PREFIX_PATH),:$(AMENT_PREFIX_PATH))
export ROS_LOG_DIR ?= $(abspath $(OUT))/ros_log

.PHONY: help setup demo demo-real test test-long fuzz lint bench check-data check-pseudolabel check-onboard check-engine check-sparse check-contrastive check-distillation check-streets check-vehicle streets clean

help:
	@echo "make demo       a drive, a bag, the node, boxes, a report: $(OUT)/demo/report.html"
	@echo "make test       all tests (PINS=workstation: on NumPy 2; ROS=kilted: tests/ros on ROS 2 Kilted; each in an environment of its own)"
	@echo "make test-long  the property tests thrice, at random and with more examples (SEEDS=\"1 2 3\" repeats them)"
	@echo "make fuzz       hostile inputs wherever data from outside enters (N=$(N) SEED=$(SEED))"
	@echo "make demo-real  the same node on a real KITTI drive (\$$LIDARLOOP_REAL_DATA or ../shared/data)"
	@echo "make check-data        what readers, metrics and viewer promise, measured: $(OUT)/checks/data.json"
	@echo "make check-pseudolabel what pseudo-labels and training on them promise: $(OUT)/checks/pseudolabel.json"
	@echo "make check-onboard     what the stack on the vehicle promises: $(OUT)/checks/onboard.json"
	@echo "make check-engine      what engines and precisions promise: $(OUT)/checks/engine.json"
	@echo "make check-distillation what painted teachers and distilled students promise: $(OUT)/checks/distillation.json"
	@echo "make check-sparse      what voxels and sparse convolutions promise: $(OUT)/checks/sparse.json"
	@echo "make check-contrastive what pre-training without labels promises: $(OUT)/checks/contrastive.json"
	@echo "make check-streets     what readers and adaptation promise on real drives: $(OUT)/checks/streets.json"
	@echo "make check-vehicle     what the first day on a new vehicle takes: $(OUT)/checks/vehicle.json"
	@echo "                       (long studies are stored in results/; FULL=1 runs them anew)"
	@echo "make streets    unpacks real drives for check-streets into \$$LIDARLOOP_STREETS or ~/.cache/lidarloop/streets"
	@echo "make lint       ruff and mypy"
	@echo "make bench      decode, grouping and inference, measured here"
	@echo "make setup      the environment in $(VENV) that all of them use"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, $(OLDEST)) <= v <= (3, 12) else \
	  f"received Python {v[0]}.{v[1]}; expected 3.$(OLDEST) to 3.12: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV_OPTIONS) $(VENV)
	$(PIP) "setuptools<80" wheel

$(VENV)/.demo-ready: $(VENV)/bin/python $(MANIFESTS)
	@echo "== setting up what the demo needs (once)"
	$(PIP) --no-build-isolation $(PACKAGES) -e ".[toytown,evaluate$(ROS_EXTRAS)]"
	$(SETUP_ROS)
	touch $@

$(VENV)/.ready: $(VENV)/.demo-ready
	@echo "== setting up training, export and the tests (once)"
	$(PIP) torch
	$(PIP) --no-build-isolation -e ".[train,mask-models,ray,export,data,view,rtx,fast-jpeg,dev$(DEVKIT)]"
	$(SETUP_ROS) autoware_perception_msgs
	touch $@

setup: $(VENV)/.ready

# The score is of every cloud: in lockstep it does not depend on the machine. The latency does, and is measured apart.
define replay_and_evaluate
	@echo "== $(2): the score, from every cloud: each is sent when the one before is answered"
	$(BIN)/lidarloop replay $(1)/drive.mcap --model $(MODEL) --pace lockstep --out $(1)
	@echo "== $(3): the latency, at the recorded pace, on the first $(LATENCY_S) s of the drive"
	$(BIN)/lidarloop replay $(1)/drive.mcap --model $(MODEL) --duration-s $(LATENCY_S) --out $(1)/latency
	@echo "== $(4): both in one report"
	$(BIN)/lidarloop evaluate $(1)/detections.json $(1)/drive.mcap --latency $(1)/latency/latency.json --out $(1) $(5)
endef

demo: $(VENV)/.demo-ready
	@echo "== 1/4: a toy-town drive as a ROS 2 bag"
	$(BIN)/lidarloop convert toytown $(DEMO_SEED) $(OUT)/demo/drive.mcap --overwrite
	$(call replay_and_evaluate,$(OUT)/demo,2/4,3/4,4/4,)

demo-real: $(VENV)/.demo-ready
	@echo "== 1/4: a KITTI drive as a ROS 2 bag"
	$(BIN)/lidarloop convert kitti-raw $(REAL_DATA)/kitti_raw_sequence $(OUT)/demo-real/drive.mcap --overwrite
	$(call replay_and_evaluate,$(OUT)/demo-real,2/4,3/4,4/4,--pictures 12 --allow-missing)

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(TESTS)

# The other tests draw nothing at random. SEEDS="1 2 3" repeats a run; without it, three new ones.
test-long: $(VENV)/.ready
	for seed in $${SEEDS:-$$(shuf -i 1-999999999 -n 3)}; do \
	  echo "== property tests at random; to repeat: make test-long SEEDS=$$seed"; \
	  $(BIN)/python -m pytest -n 2 --dist loadgroup -m hypothesis --hypothesis-profile=random --hypothesis-seed=$$seed $(TESTS); \
	done

# N inputs over all boundaries where data from outside enters.
fuzz: $(VENV)/.ready
	$(BIN)/python -m tests.fuzz --num-inputs $(N) --seed $(SEED)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.ready
	for what in decode grouping overlap; do $(BIN)/lidarloop bench $$what --json $(OUT)/bench/$$what.json; done
	$(BIN)/lidarloop bench inference --model $(MODEL) --json $(OUT)/bench/inference.json

streets: $(VENV)/.ready
	$(BIN)/python -m benchmarks.streets.pack --data $(REAL_DATA)

check-data check-pseudolabel check-onboard check-engine check-sparse check-contrastive check-distillation check-streets check-vehicle: check-%: $(VENV)/.ready
	$(BIN)/python -m benchmarks.check_$* --data $(REAL_DATA) --out $(OUT)/checks

clean:
	rm -rf $(OUT) build install log
