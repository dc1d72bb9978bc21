PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# What `make test-fast` runs.
FAST := tests/unit tests/api tests/contract tests/chaos tests/attack
# Tests start Python hundreds of times: compiled modules are kept, even if the environment says otherwise.
test test-fast test-slow test-image chaos chaos-short attack attack-short differential differential-short lint: export PYTHONDONTWRITEBYTECODE =

.PHONY: help demo serve shell test test-fast test-slow test-image fuzz lint house servers chaos chaos-short attack attack-short differential differential-short bench openapi lock clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

demo: $(VENV)/.demo ## Install what it needs, ingest the samples, show the result
	$(BIN)/spatial-etl demo

serve: $(VENV)/.demo ## Start the service on http://127.0.0.1:8000
	$(BIN)/spatial-etl serve

shell: $(VENV)/.demo ## Open a shell that finds the command spatial-etl, which is in .venv/bin
	@PATH="$(CURDIR)/$(BIN):$$PATH" "$${SHELL:-sh}"

test: $(VENV)/.dev lint servers ## Lint, then run all tests, on real servers where they can be had
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: $(VENV)/.dev ## While coding: the tests of rules, API and storage that need no servers (about two minutes)
	$(BIN)/python -m pytest -n 2 --dist worksteal --no-servers $(FAST)

test-slow: $(VENV)/.dev servers ## Run the tests that `make test` leaves out because they take long
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

test-image: $(VENV)/.dev ## Build what the Dockerfile builds, with packages from the registry, and use it
	$(BIN)/python -m pytest -m registry

fuzz: $(VENV)/.dev ## Mutate the samples and read them (ARGS="--seed 2 --mutants 20000 --seconds 3600")
	$(BIN)/python -m tests.hostile.fuzz $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy --strict, import-linter, limits of the folders, OpenAPI drift, hadolint, Compose schema, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.house
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/spatial-etl openapi | diff -u openapi/openapi.json - || { echo "Run: make openapi"; exit 1; }
	$(BIN)/python locks/audit.py

house: $(VENV)/.dev ## Show the size of each folder of app, and the imports between folders; fails above the limits
	$(BIN)/python -m tools.house

servers: ## Install the servers that the tests talk to (Debian, as root); else say what is missing
	@sh tests/servers/install.sh

chaos: $(VENV)/.dev servers ## Kill, stop and cut off everything at random for half an hour, and check that nothing is lost
	$(BIN)/python -m chaos --faults 500 $(ARGS)

chaos-short: $(VENV)/.dev servers ## The same for a minute or two
	$(BIN)/python -m chaos --faults 24 --pace 0.8 --store moto $(ARGS)

attack: $(VENV)/.dev servers ## Hostile bodies, 10,000 mutated manifests, walls, leaks, and growth at 200,000 runs (half an hour)
	$(BIN)/python -m attack $(ARGS)

attack-short: $(VENV)/.dev servers ## The same with fewer, in a minute or two
	$(BIN)/python -m attack --short $(ARGS)

differential: $(VENV)/.dev ## Read 5,500 generated files by this service and by others, and compare every value (half an hour)
	$(BIN)/python -m differential $(ARGS)

differential-short: $(VENV)/.dev ## The same with 280 files, in a minute
	$(BIN)/python -m differential --files 280 $(ARGS)

bench: $(VENV)/.bench ## Time this service beside its peers, in one run
	$(BIN)/python -m bench $(ARGS)

openapi: $(VENV)/.demo ## Write openapi/openapi.json
	$(BIN)/spatial-etl openapi > openapi/openapi.json.new
	mv openapi/openapi.json.new openapi/openapi.json

lock: ## Resolve the dependencies again (needs uv)
	printf 'hatchling>=1.27\n' | uv pip compile -q - --universal --python-version 3.11 --generate-hashes --no-header -o locks/build.txt
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header -o locks/runtime.txt
	uv pip compile -q pyproject.toml --extra demo --universal --python-version 3.11 --generate-hashes --no-header -o locks/demo.txt
	uv pip compile -q pyproject.toml --extra demo --extra dev --universal --python-version 3.11 --generate-hashes --no-header -o locks/dev.txt
	uv pip compile -q pyproject.toml --extra demo --extra bench --universal --python-version 3.11 --generate-hashes --no-header -o locks/bench.txt

clean: ## Remove the environment and the demo's data
	rm -rf $(VENV) data .bench

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%: locks/%.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes -r locks/$*.txt
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@
