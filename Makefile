# The two commands: `make demo` runs the main job, `make test` passes the tests. Each does its own set-up.
PYTHON ?= python3
BIN := .venv/bin
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)

.PHONY: help setup demo demo-short test localstack browser bench soak lint synth lock clean
.DEFAULT_GOAL := help

help:  ## Show what there is to run
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed node_modules/.installed  ## Install everything the project needs, pinned, into this folder

.venv/.installed: pyproject.toml constraints.txt
	@echo "Installing the Python packages (a few minutes the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is required: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[functions,training,infra,local,dev]'
	@touch $@

node_modules/.installed: package.json package-lock.json
	@npm ci --silent --no-audit --no-fund
	@touch $@

build/bundles/.built: .venv/.installed functions/prepare_archive/requirements.lock functions/score_clicks/requirements.lock
	@echo "Building the Lambda bundles, for AWS and for this machine ..."
	@$(BIN)/python -m infra.bundle
	@touch $@

demo: setup  ## Run the main job: clicks in, verdicts out (DEMO_INPUT=path for a real log)
	@$(RUN)/slidr demo $(if $(DEMO_INPUT),--input '$(DEMO_INPUT)')

demo-short: setup  ## The demo's short form, which stops the cloud at its end
	@$(RUN)/slidr demo --short --down

test: setup build/bundles/.built localstack browser  ## Run every test, with coverage
	$(RUN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadgroup --cov --cov-report=term:skip-covered $(TEST)

localstack: setup  ## Install LocalStack's host mode, which some tests run against, where Python >= 3.12 is found
	@$(RUN)/python -m tests.localstack.install

browser: setup  ## Get a headless Chromium for the tests that look at pages, where none is found
	@$(RUN)/python -m tests.browser.install

bench: setup build/bundles/.built  ## Measure: one benchmark (BENCH=name), or all short ones (BENCH=--list says which)
	@$(RUN)/python -m benchmarks $(BENCH)

soak: setup build/bundles/.built  ## Measure what takes long: faults, whole real logs, ten million clicks
	@$(RUN)/python -m benchmarks --soak

lint: setup  ## Format, lint, types, import rules
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports

synth: setup build/bundles/.built  ## Synthesise the AWS templates of the dev stage, with cdk-nag and cfn-lint
	env -u AWS_PROFILE -u AWS_ACCESS_KEY_ID JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=20 node_modules/.bin/cdk synth --quiet -c stage=dev
	$(RUN)/cfn-lint 'cdk.out/*.template.json'

lock:  ## Pin what a clean environment resolves to
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet torch==2.13.0 boto3==1.43.106 '.[functions,training,infra,local,dev]'
	build/lock/bin/pip freeze --exclude slidr | sed 's/+cpu//' > constraints.txt

clean:  ## Remove what was built, not what was installed
	rm -rf build cdk.out .slidr .coverage
