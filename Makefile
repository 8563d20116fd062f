# `make demo` shows the product, `make test` proves it; both set up what they need in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long test-debian test-api test-browser screenshots dashboard coverage check check-deploy check-wheel supply-chain bench chaos install lock clean help

# Each worker has stores of its own. Tests wait for each other's processor time, not for each other.
PYTEST = $(BIN)/pytest -q -p no:cacheprovider -n $(WORKERS) --dist worksteal
WORKERS ?= 3
CHROMIUM ?= /usr/bin/chromium

help:            ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: .venv/runtime-installed            ## Run the main job end to end, on free ports; at a terminal, the console stays open until Ctrl-C
	@$(BIN)/vyrox demo $(ARGS)

test: .venv/dev-installed            ## Run the quick tests (ARGS=tests/chain for some of them)
	@$(PYTEST) -m "not long and not browser and not debian and not api" $(ARGS)

test-long: .venv/dev-installed            ## Run what takes longer: kills, faults, PostgreSQL in every layer, many more examples
	@$(PYTEST) -m "(long or hypothesis) and not browser and not debian and not api" --hypothesis-profile=long $(ARGS)

coverage: .venv/dev-installed            ## Run every test and print the coverage
	@$(PYTEST) -m "not browser and not debian and not api" --cov $(ARGS)

test-api: .venv/dev-installed            ## Run schemathesis, with the API's document, against a running service
	@$(PYTEST) -m api tests/api $(ARGS)

test-browser: .venv/browser-installed browser            ## Run the tests in a real browser, Debian's Chromium
	@CHROMIUM=$(CHROMIUM) $(PYTEST) -m browser tests/browser $(ARGS)

test-debian: .venv/dev-installed            ## Run the tests that need programs of Debian (PgBouncer, Prometheus)
	@for each in pgbouncer promtool:prometheus; do \
		PATH=$$PATH:/usr/sbin command -v $${each%:*} >/dev/null || missing="$$missing $${each#*:}"; \
	done; \
	test -z "$$missing" || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -yqq --no-install-recommends $$missing >/dev/null; } \
		|| { echo "This needs, as root: apt-get install$$missing" >&2; exit 1; }
	@$(PYTEST) -m debian $$(grep -rl --include='test_*.py' mark.debian tests) $(ARGS)

screenshots: .venv/browser-installed browser            ## Make the pictures in docs/images, from the demo's data
	@CHROMIUM=$(CHROMIUM) $(BIN)/python -m tests.browser.screenshots

dashboard: .venv/browser-installed browser prometheus            ## Draw the picture of the dashboard, from a real Prometheus
	@CHROMIUM=$(CHROMIUM) $(BIN)/python -m tests.browser.dashboard

.PHONY: browser prometheus
prometheus:
	@command -v prometheus >/dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -yqq --no-install-recommends prometheus >/dev/null; } \
		|| { echo 'This needs Prometheus: apt-get install prometheus, as root' >&2; exit 1; }

browser:
	@command -v $(CHROMIUM) >/dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -yqq chromium >/dev/null; } \
		|| { echo 'This needs Chromium: apt-get install chromium, as root, or CHROMIUM=PATH' >&2; exit 1; }

check: .venv/dev-installed            ## Lint and type-check
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

check-deploy: .venv/dev-installed            ## Check the Dockerfile, compose.yaml and the systemd unit (ARGS=--image runs the image's steps)
	@deploy/check.sh $(ARGS)

check-wheel:            ## Build the wheel, install it with hashes, run the demo from it (PYTHON=python3.12)
	@PYTHON=$(PYTHON) deploy/check-wheel.sh

supply-chain: .venv/dev-installed            ## Write the SBOM and the table of licences, and ask for known vulnerabilities
	@deploy/supply-chain.sh

bench: .venv/bench-installed            ## Measure the promised numbers (a quarter of an hour; SECONDS=1 for a short look)
	@command -v wrk >/dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -yqq wrk >/dev/null; } \
		|| { echo 'make bench needs wrk: apt-get install wrk, as root' >&2; exit 1; }
	@cd benchmarks/node && { test -d node_modules || { command -v npm >/dev/null && npm ci --silent --no-audit --no-fund; } \
		|| echo 'The hand-made Node build could not be installed (it needs node, npm and a C++ compiler)' >&2; }
	@$(BIN)/python -m benchmarks $(if $(SECONDS),--seconds $(SECONDS)) $(if $(ALERTS),--alerts $(ALERTS))

chaos: .venv/dev-installed            ## Kill everything mid-load and count the losses (ROUNDS=200, PARTS="kill fuzz", OUT=file)
	@$(BIN)/python -m chaos $(PARTS) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(OUT),--out $(OUT))

install: .venv/dev-installed            ## Build .venv with everything

lock: .venv/dev-installed            ## Renew the lock files from pyproject.toml
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
		--extra build pyproject.toml -o requirements.txt --upgrade
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
		--extra build --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt --upgrade
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
		--extra build --extra bench -c requirements.txt -c requirements-dev.txt pyproject.toml \
		-o requirements-bench.txt --upgrade
	for extra in otel sigma; do \
		$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
			--extra build --extra $$extra -c requirements.txt -c requirements-dev.txt pyproject.toml \
			-o requirements-$$extra.txt --upgrade || exit 1; \
	done
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
		--extra build --extra dev --extra browser -c requirements.txt -c requirements-dev.txt pyproject.toml \
		-o requirements-browser.txt --upgrade

clean:            ## Remove what the targets above made
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Vyrox needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...")'
	@echo 'Making .venv'
	@$(PYTHON) -m venv .venv

# The lock files are complete, so pip resolves nothing: its resolver would take a newer release
# where a package is asked for with an extra.
.venv/runtime-installed: requirements.txt pyproject.toml | .venv/bin/python
	@echo 'Installing what Vyrox needs (about 100 MB, once)'
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev-installed: requirements-dev.txt .venv/runtime-installed
	@echo 'Installing what the tests need (PostgreSQL among it, once)'
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	@touch $@

.venv/browser-installed: requirements-browser.txt .venv/dev-installed
	@echo 'Installing what drives a browser'
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements-browser.txt
	@touch $@

.venv/bench-installed: requirements-bench.txt .venv/dev-installed
	@echo 'Installing what the measurements need'
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements-bench.txt
	@touch $@
