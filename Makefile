# What people do with Culvert. The one prerequisite is a Rust toolchain (with make, gcc, Python 3); `deps` gets the rest.
SHELL := /bin/bash
CARGO ?= cargo
# Network namespaces need root.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Seconds the demo runs; empty: until Ctrl-C.
DURATION ?=
# Seconds for each fuzz target.
SECONDS ?= 60
# Part of the name of the rows that `test-vm` runs; empty: all.
ONLY ?=

.PHONY: help build demo test test-vm test-docs lint fuzz bench bench-report deps clean-lab

help:
	@echo "make demo [DURATION=10]  two gateways and real traffic in network namespaces of this machine"
	@echo "make build               the release programs, in $(TARGET)/release"
	@echo "make test                every test; as root the end-to-end tests too"
	@echo "make test-vm [ONLY=text] against a Linux kernel's IPsec in an emulated machine; needs root"
	@echo "make lint                formatting, lints, dependency law, table of requirements, builds without the C libraries"
	@echo "make fuzz [SECONDS=60]   every fuzz target for so long, after its committed inputs"
	@echo "make bench               the worker loop over memory rings, beside the cipher alone; key exchange at scale"
	@echo "make bench-report        plots of what \`make bench\` found, as one page"
	@echo "make test-docs           check the generated documents; UPDATE_DOCS=1 make test-docs writes them anew"
	@echo "make deps                install the Debian packages for all of it"
	@echo "make clean-lab           remove what a killed demo or test left"

deps:
	@tests/deps.sh test

build:
	@tests/deps.sh build
	$(CARGO) build --release --workspace --bins

demo: build
	@tests/deps.sh demo
	$(SUDO) $(TARGET)/release/culvert demo $(if $(DURATION),--duration $(DURATION))

test:
	@tests/deps.sh test
	tests/run.sh

test-vm:
	@tests/deps.sh vm
	$(CARGO) build --bins -p culvert -p culvert-control -p culvert-dataplane -p culvert-vm
	$(SUDO) tests/vm/image.sh $(TARGET)/vm
	$(SUDO) $(TARGET)/debug/culvert-vm $(TARGET)/vm $(TARGET)/debug $(if $(ONLY),--only "$(ONLY)")

test-docs:
	$(CARGO) test -p culvert-status -p culvert-config -p culvert-telemetry

fuzz:
	@tests/deps.sh build
	$(CARGO) run --release -p culvert-fuzz -- run all --seconds $(SECONDS)

bench:
	@tests/deps.sh build
	$(CARGO) run --release -p culvert-bench -- --out $(TARGET)/bench/pipeline.json
	$(CARGO) build --release -p culvert-control -p culvert-bench-control
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(TARGET)/release/culvert-bench-control --out $(TARGET)/bench/control.json

bench-report:
	python3 bench/report.py $(TARGET)/bench/pipeline.json $(TARGET)/bench/report.html

lint:
	@tests/deps.sh build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) check --workspace --all-targets --no-default-features
	python3 tests/dependency-law.py
	python3 tests/requirements.py --self-test
	python3 tests/requirements.py
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  $(CARGO) deny --offline check --hide-inclusion-graph licenses bans sources; \
	else \
	  echo "cargo-deny is not installed: licences and sources not checked"; \
	fi

clean-lab: build
	$(SUDO) $(TARGET)/release/culvert demo --clean
