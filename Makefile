# SPDX-License-Identifier: Apache-2.0
# make build   installs what is missing, builds build/release/braid
# make serve   builds, then serves the default model (MODEL=..., PORT=..., ARGS="--flag ...")
# make test    builds, then runs every test
# make reference   builds, then rewrites docs/reference
SHELL := /bin/bash
MODEL ?= models/lexicon-30m
PORT ?= 8000
HOST ?= 127.0.0.1
ARGS ?=
JOBS ?= $(shell nproc)
# Extra arguments for cmake, for example -DCMAKE_CXX_COMPILER=g++-13
CMAKE_ARGS ?=

STAMPS := build/.stamps
BRAID := build/release/braid

.PHONY: help build serve test reference clean
help:
	@sed -n 's/^# make /make /p' Makefile

build: $(STAMPS)/packages $(STAMPS)/configured
	@cmake --build --preset release -j $(JOBS)
	@test ! -x $(BRAID) || echo "Built $(BRAID)"

serve: build
	@exec $(BRAID) serve $(MODEL) --host $(HOST) --port $(PORT) $(ARGS)

test: build $(STAMPS)/venv
	@ctest --preset release -j $(JOBS)

reference: build
	@python3 tests/house/reference_test.py --write build/release/tests/house/reference_pages docs/reference

# A stamp is renewed when the script that made it changes.
$(STAMPS)/packages: tools/install.sh
	@tools/install.sh packages
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/venv: tools/install.sh tools/requirements.txt
	@tools/install.sh venv
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/configured: $(STAMPS)/packages CMakePresets.json
	@PATH="$$PATH:$$HOME/.cargo/bin" cmake --preset release $(CMAKE_ARGS)
	@touch $@

clean:
	rm -rf build
