# The only command a fresh machine needs: Python 3.11 to 3.13 and make are enough, the rest is brought along.
# Another Python: make install PYTHON=/path/to/python3.12

export UV_PYTHON_DOWNLOADS := never

BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help install check format test demo docs docs-commands docs-results clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(READY) ## make .venv with every extra but ffcv (which must be compiled), from the lock file

check: $(READY) ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## put the formatting right, and what else ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(READY) ## the default test suite
	$(BIN)/pytest

demo: $(READY) ## the best digit reader that a minute buys
	$(BIN)/scrimp fit digits --budget 60s
	@echo "Open $(CURDIR)/runs/digits/report.html"

docs: $(READY) ## the documentation as a site, in build/site
	$(BIN)/mkdocs build --strict

docs-commands: $(READY) ## write docs/commands.md anew
	$(BIN)/python scripts/write_command_docs.py

docs-results: $(READY) ## write the measured figures into the pages anew
	$(BIN)/python scripts/write_results.py

clean: ## remove caches and builds; .venv and runs stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find scrimp tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# Finds a Python that fits (that of .venv first, so that it is kept), finds or fetches uv, and syncs.
$(READY): pyproject.toml uv.lock
	@set -eu; \
	python=; \
	for name in $(or $(PYTHON),$(BIN)/python python3.13 python3.12 python3.11 python3 python); do \
	    python=$$("$$name" -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit(1); print(getattr(sys, "_base_executable", sys.executable))' 2>/dev/null) \
	        && break || python=; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "Scrimp needs Python 3.11, 3.12 or 3.13; looked for $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python)," \
	        "found $$(python3 --version 2>/dev/null || echo none). Install one, or name it: make install PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	fi; \
	uv=uv; \
	if ! uv --version >/dev/null 2>&1; then \
	    uv=.uv/bin/uv; \
	    if ! $$uv --version >/dev/null 2>&1; then \
	        echo "Fetching uv into .uv"; \
	        rm -rf .uv; \
	        { "$$python" -m venv .uv >/dev/null 2>&1 && .uv/bin/python -m pip install --quiet uv; } \
	            || { rm -rf .uv; "$$python" -m pip install --quiet --target .uv uv; } \
	            || { echo "uv could not be fetched: install it, or Python's venv and pip (python3-venv on Debian)." >&2; exit 1; }; \
	    fi; \
	fi; \
	$$uv sync --locked --all-extras --no-extra ffcv --compile-bytecode --python "$$python"; \
	touch $@
