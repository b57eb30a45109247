# Two commands matter: `make book` and `make test`. Each sets up what it needs, once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# What the lock leaves out: the GPU libraries of torch's Linux wheel. pip adds them where the wheel at hand asks for them.
GPU    := cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
          nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver \
          nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
# What requirements.txt is compiled from: every extra but the peers of `make bench`, which have a lock of their own.
# That one leaves out `dataclasses`: pythae asks for it, a part of Python since 3.7, and pip refuses to install it there.
EXTRAS := data train metrics pictures book test
COMPILE = uv pip compile code/pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
          --no-emit-index-url --no-emit-find-links $(GPU:%=--no-emit-package %) --quiet
BENCH  := _build/bench/venv
# One thread a process: press and pytest run processes side by side, and threads that fight cost threefold.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help book test slow serve notebooks check lint lock bench ci clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

book: $(VENV)/.ready ## run every chapter on real data and build the site into _build/html
	@$(BIN)/python -m press build

test: lint ## lint, types and the quick tests
	@cd code && ../$(BIN)/python -m pytest -q -n 2

slow: $(VENV)/.ready ## the tests that take minutes: recipes, notebooks in a fresh environment, no network
	@cd code && ../$(BIN)/python -m pytest -q -n 2 -m slow --timeout 1800

serve: $(VENV)/.ready ## rebuild and reload the page in the browser while you write
	@$(BIN)/python -m press serve

notebooks: $(VENV)/.ready ## export every chapter as .ipynb into _build/notebooks
	@$(BIN)/python -m press notebooks

check: $(VENV)/.ready ## look through the built site: dead links, other hosts, formulas
	@$(BIN)/python -m press check

lint: $(VENV)/.ready ## ruff, mypy, the direction of imports, the anatomy of chapters
	@$(BIN)/ruff check -q code
	@$(BIN)/ruff format -q --check code
	@cd code && ../$(BIN)/mypy --no-error-summary dgm press benchmarks
	@cd code && ../$(BIN)/lint-imports --no-logo >/dev/null || (../$(BIN)/lint-imports; exit 1)
	@$(BIN)/python -m press lint

lock: ## compile the locks from code/pyproject.toml (needs `pip install uv`)
	@$(COMPILE) $(EXTRAS:%=--extra %) --constraint code/torch.txt --output-file requirements.txt
	@$(COMPILE) --extra bench --constraint requirements.txt --no-emit-package dataclasses \
	  --output-file code/benchmarks/requirements.txt

bench: $(BENCH)/.ready ## time ours beside other libraries, one thread; writes code/benchmarks/README.md (half an hour)
	@cd code && OMP_NUM_THREADS=1 ../$(BENCH)/bin/python -m benchmarks

ci: $(VENV)/.ready ## what the server runs; tests and book with the network cut off, where the machine permits it
	@if $(BIN)/python -m press offline true; then $(BIN)/python -m press offline $(MAKE) test book; else $(MAKE) test book; fi
	@$(MAKE) check slow

clean: ## remove what was built (the environment stays)
	@rm -rf _build runs

# The peers' environment lies over the book's: it sees all that is there, and adds what only its own lock names.
$(BENCH)/.ready: $(VENV)/.ready code/benchmarks/requirements.txt
	@test -x $(BENCH)/bin/python || $(BIN)/python -m venv $(BENCH)
	@where='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	$(BIN)/python -c "$$where" > "$$($(BENCH)/bin/python -c "$$where")/book.pth"
	@$(BENCH)/bin/python -m pip install -q --no-deps --require-hashes --use-pep517 --no-build-isolation \
	  -r code/benchmarks/requirements.txt
	@touch $@

# The environment is made once and again only when the lock changes.
$(VENV)/.ready: requirements.txt code/pyproject.toml
	@command -v git >/dev/null || { echo "git is missing: sudo apt install git"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is missing: sudo apt install python3, or make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv is missing: sudo apt install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@want=$$(cat requirements.txt code/pyproject.toml | sha256sum | cut -c1-64); \
	if [ "$$(cat $@ 2>/dev/null)" = "$$want" ]; then touch $@; else \
	  echo "installing what the lock names into $(VENV) (once; a few minutes)"; \
	  $(BIN)/python -m pip install -q $$(sed -nE 's/^(torch(vision)?==[^ ;]+).*/\1/p' requirements.txt) && \
	  $(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements.txt && \
	  $(BIN)/python -m pip install -q --no-deps --no-build-isolation -e code && \
	  echo "$$want" > $@ || \
	  { echo "the installation stopped; if the lines above ask for a compiler: sudo apt install build-essential python3-dev"; exit 1; }; \
	fi
