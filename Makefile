# SPDX-License-Identifier: Apache-2.0
# make build   installs what is missing, builds build/release/braid
# make serve   builds, then serves the default model (MODEL=..., PORT=..., ARGS="--flag ...")
# make test    builds, then runs every test
# make test-many   builds, then lets 32 ranks (RANKS=...) start, serve and survive on this machine
# make test-pd  builds, then kills what takes part in prefill and decode, a thousand times (ROUNDS=..., SEED=...; an hour)
# make test-exactness   builds, then compares the text of every kind of group of ranks with that of one (long)
# make test-deploy   renders the manifests of deploy/paths with helm and checks them
# make test-cluster   builds, then plays those of every path on this machine, pods as processes with a small model (as root)
# make test-kubernetes   builds, then a real kube-apiserver takes those of every path, and a router finds its endpoints there
# make test-walk   builds, then copies the commands of each path's page, with both (as root)
# make package   builds, then packs build/packages/*.deb (deploy/packages/README.md)
# make test-package   builds those, then installs and tries them in a fresh Debian 12 (as root)
# make test-image   builds, then plays the steps of the CPU image in a fresh Debian 12 (as root)
# make cuda    installs the CUDA compiler, builds build/cuda/braid with the CUDA backend
# make test-gpu    builds that, then runs its tests on this machine's GPU
# make bundle  builds it, packs programs of it (PROGRAMS="...") and their libraries as build/bundle.tar.xz
# make test-observability   builds, installs Prometheus and Chromium, then checks rules and dashboards with them
# make screenshots   takes those of the README
# make reference   builds, then rewrites docs/reference
SHELL := /bin/bash
MODEL ?= models/lexicon-30m
PORT ?= 8000
HOST ?= 127.0.0.1
ARGS ?=
RANKS ?= 32
ROUNDS ?= 1000
SEED ?= 1
JOBS ?= $(shell nproc)
# Extra arguments for cmake, for example -DCMAKE_CXX_COMPILER=g++-13
CMAKE_ARGS ?=

STAMPS := build/.stamps
BRAID := build/release/braid
CUDA_TARGETS := braid backend_cuda_test golden_cuda_test exchange_cuda_test rebalance_cuda_test cuda_attention_bench cuda_gemm_bench cuda_exchange_bench
PROGRAMS ?= braid

.PHONY: help build serve test test-many test-pd test-exactness test-deploy test-cluster test-kubernetes test-walk package test-package test-image cuda test-gpu bundle test-observability screenshots reference clean
help:
	@sed -n 's/^# make /make /p' Makefile

build: $(STAMPS)/packages $(STAMPS)/configured
	@cmake --build --preset release -j $(JOBS)
	@test ! -x $(BRAID) || echo "Built $(BRAID)"

serve: build
	@exec $(BRAID) serve $(MODEL) --host $(HOST) --port $(PORT) $(ARGS)

test: build $(STAMPS)/venv
	@ctest --preset release -j $(JOBS)

test-many: build $(STAMPS)/venv
	@BRAID_TEST_RANKS=$(RANKS) build/venv/bin/python tests/e2e/many_ranks_test.py $(BRAID) $(MODEL)

test-pd: build $(STAMPS)/venv
	@for storm in pd_test.py pd_storm_test.py; do \
	  BRAID_TEST_ROUNDS=$(ROUNDS) BRAID_TEST_SEED=$(SEED) build/venv/bin/python tests/e2e/$$storm $(BRAID) $(MODEL) || exit 1; done

test-deploy: $(STAMPS)/venv $(STAMPS)/helm
	@HELM=$(CURDIR)/build/go/bin/helm build/venv/bin/python tests/deploy/manifests_test.py

test-cluster: build $(STAMPS)/venv $(STAMPS)/helm
	@HELM=$(CURDIR)/build/go/bin/helm build/venv/bin/python tests/deploy/cluster_test.py $(BRAID) models/lexicon-30m

test-kubernetes: build $(STAMPS)/venv $(STAMPS)/helm $(STAMPS)/kubernetes
	@HELM=$(CURDIR)/build/go/bin/helm build/venv/bin/python tests/deploy/kubernetes_test.py $(BRAID) models/lexicon-30m

test-walk: build $(STAMPS)/venv $(STAMPS)/helm $(STAMPS)/kubernetes
	@HELM=$(CURDIR)/build/go/bin/helm build/venv/bin/python tests/deploy/walk_test.py $(BRAID) models/lexicon-30m

package: build
	@tools/package.sh $(BRAID) build/packages

test-package: package $(STAMPS)/debootstrap
	@tests/deploy/package_test.sh build/packages/*.deb

test-image: build $(STAMPS)/debootstrap
	@tests/deploy/image_test.sh deploy/images/cpu.Dockerfile $(BRAID)

test-exactness: build
	@build/release/tests/ranks/exactness_test --gtest_filter='Every/*' --gtest_brief=1

# Beside `build` only what CUDA needs is compiled again; the rest comes out of ccache.
cuda: $(STAMPS)/packages $(STAMPS)/nvcc
	@PATH="$$PATH:$$HOME/.cargo/bin" cmake --preset cuda $(CMAKE_ARGS)
	@cmake --build --preset cuda -j $(JOBS) --target $(CUDA_TARGETS)

test-gpu: cuda
	@bench/gpu/test.sh build/cuda

bundle: cuda
	@tools/bundle.sh build/bundle.tar.xz $(foreach program,$(PROGRAMS),$(shell find build/cuda -type f -name $(program) -perm -u+x))

test-observability: build $(STAMPS)/venv $(STAMPS)/observers
	@build/venv/bin/python tests/observability/prometheus_test.py $(BRAID) $(MODEL)
	@build/venv/bin/python tests/observability/dashboard_test.py $(BRAID) $(MODEL)

screenshots: build $(STAMPS)/venv $(STAMPS)/observers
	@build/venv/bin/python tests/observability/dashboard_test.py $(BRAID) $(MODEL) docs/images

reference: build
	@python3 tests/house/reference_test.py --write build/release/tests/house/reference_pages docs/reference

# A stamp is renewed when the script that made it changes.
$(STAMPS)/packages: tools/install.sh
	@tools/install.sh packages
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/observers: tools/install.sh
	@tools/install.sh observers
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/debootstrap: tools/install.sh
	@tools/install.sh debootstrap
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/venv: tools/install.sh tools/requirements.txt
	@tools/install.sh venv
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/helm: tools/install.sh
	@tools/install.sh helm
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/kubernetes: tools/install.sh
	@tools/install.sh kubernetes
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/nvcc: tools/install.sh tools/cuda_requirements.txt
	@tools/install.sh nvcc
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/configured: $(STAMPS)/packages CMakePresets.json
	@PATH="$$PATH:$$HOME/.cargo/bin" cmake --preset release $(CMAKE_ARGS)
	@touch $@

clean:
	rm -rf build
