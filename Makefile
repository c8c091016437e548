# Every command that README names and .ci/run calls.  Needs Rust and Python; the rest comes from
# PyPI and crates.io.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# CMake, with which HDF5 is built, is one of the tools in the environment.
export PATH := $(PATH):$(CURDIR)/$(BIN)

# How Rust is compiled: `quick` leaves Polars, of which little is slow, unoptimised, and takes half as
# long as `release`, with which everything is compiled that is measured or shipped.
PROFILE ?= quick
# pip says what goes wrong, and nothing else.
export PIP_QUIET := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# `make build` puts the module beside its sources; with INSTALL=wheel, the very wheel of `make wheel`
# is what is installed and tested.
INSTALL ?= sources
# What `make wheel` builds for: this machine or, with TARGET=aarch64-unknown-linux-gnu, another. Each has
# a wheel of its own in dist.
TARGET ?=
WHEEL := dist/pdex-*_$(or $(firstword $(subst -, ,$(TARGET))),$(shell uname -m)).whl

.PHONY: demo test check lint build release wheel wheel-test rust-test python-test peers accuracy bench \
  bench-k562 bench-kernels s3-server docs licenses clean

demo: $(VENV)/demo  ## simulate a screen with planted effects, test it; a table, a picture, a report
	@$(BIN)/python -m pdex demo --picture demo.png --report demo.html

test: rust-test python-test  ## both suites

check: lint test  ## all that the gate runs

lint: build  ## formatters, linters, type checkers and the stub test
	cargo fmt --check
	cargo clippy --quiet --all-targets --features testing,h5ad -- -D warnings
	cargo clippy --quiet --features python -- -D warnings
	$(BIN)/ruff format --check python tests docs benches
	$(BIN)/ruff check python tests docs benches
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/basedpyright
	cd python && ../$(BIN)/lint-imports --no-cache ../pyproject.toml
	$(BIN)/python -m mypy.stubtest pdex._pdex --ignore-disjoint-bases

rust-test: $(VENV)/tools  ## the suite, and each kernel's bench once: its answer against the definition
	cargo test --quiet --features testing,h5ad

python-test: build
	$(BIN)/python -m pytest

# A server of the tests: objects in a folder, over HTTP. Built once, for about 170 seconds of one core.
.tools/bin/s3s-fs:
	cargo install --quiet --locked --debug --root .tools --features binary --version 0.14.1 s3s-fs

s3-server: .tools/bin/s3s-fs  ## an S3 server, without which the tests of object storage skip

licenses:  ## licenses/THIRD-PARTY.txt, after a change of dependencies: what wheels contain besides pdex
	$(PYTHON) licenses/third_party.py

docs: build  ## the site of docs/, which works offline: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

peers:  ## other packages in environments of their own, which the tests ask where they are
	$(PYTHON) benches/sides.py .bench pdex-0.1 pdex-0.3 cell-eval illico

accuracy: release  ## worst errors against SciPy, null p-values: rewrites docs/accuracy.md
	$(BIN)/python docs/accuracy.py
	$(BIN)/python docs/calibration_table.py

bench: release  ## peers, shapes, memory, threads, growth, more than an hour: docs/developers/benchmarks.md
	$(BIN)/python benches/side_by_side.py --write

bench-k562: release  ## the last table of docs/developers/benchmarks.md: 10^9 non-zeros, 8 GB on disk
	$(BIN)/python benches/side_by_side.py --only k562 --write

bench-kernels:  ## the numeric core's kernels by themselves, with criterion
	cargo bench --features testing --bench kernels

ifeq ($(INSTALL),wheel)
build: wheel
	$(BIN)/python -m pip install --force-reinstall --no-deps $(WHEEL)
	$(BIN)/python -m pip install "$$(ls $(WHEEL))[pandas,plots]" --group test --group docs
else
build: $(VENV)/installed
	$(BIN)/maturin develop --profile $(PROFILE) --quiet
endif

release:  ## as build, with the profile of wheels
	$(MAKE) build PROFILE=release

# Zig links against the glibc of 2014, the oldest that Rust itself supports.
wheel: $(VENV)/wheel-tools  ## dist/pdex-*.whl for every Linux since glibc 2.17 and every Python since 3.10
	rm -f $(WHEEL)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin build --release --quiet --zig \
	  --compatibility manylinux_2_17 $(if $(TARGET),--target $(TARGET)) --out dist
	$(BIN)/auditwheel show $(WHEEL)

wheel-test: wheel  ## the wheel in environments without Rust, with the newest and oldest packages
	$(BIN)/python -m pip install "pytest>=8,<10"
	$(BIN)/python -m pytest --noconftest tests/wheel

# Environments are completed anew when the project's own list of packages changes.
$(VENV)/installed: $(VENV)/tools
	$(BIN)/python -m pip install --group test --group docs
	$(BIN)/maturin develop --profile $(PROFILE) --quiet --extras pandas,plots
	@touch $@

$(VENV)/demo: $(VENV)/tools
	@echo "compiling pdex with Polars: 4 to 5 minutes on two cores, once"
	$(BIN)/maturin develop --profile $(PROFILE) --quiet --extras plots
	@touch $@

$(VENV)/tools: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install "maturin>=1.14,<2" "cmake>=3.26,<5"
	@touch $@

$(VENV)/wheel-tools: $(VENV)/tools
	$(BIN)/python -m pip install "maturin[zig]>=1.14,<2" "ziglang==0.17.*" "auditwheel==6.*"
	@touch $@

clean:
	rm -rf $(VENV) .bench target dist site demo.parquet demo.png demo.html
