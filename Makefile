# Each target sets up what it needs first; a second run finds it done.
PY := .venv/bin/python
NOT_QUICK := slow or integration or prove or gpu
# One process more than cores, four at most: some tests wait more than they compute.
SIDE_BY_SIDE := -n $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? cores + 1 : 4)))

.PHONY: demo up setup setup-api format lint check test test-api prove bench lock clean clean-all

demo: setup            ## make one image over the whole path, and stop everything again
	@.venv/bin/darkroom demo

up: setup              ## keep the service running; ARGS="--port 8080 --workers 2" passes options
	@.venv/bin/darkroom up $(ARGS)

setup:
	@scripts/setup.sh

setup-api:
	@scripts/setup.sh --api

format: setup          ## put the code in form
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

lint: setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	.venv/bin/lint-imports

check: lint            ## the quick gate, under 3 minutes
	$(PY) -m pytest -q $(SIDE_BY_SIDE) -m "not ($(NOT_QUICK))"

test-api: setup-api    ## the torch-free packages' tests, where no torch is installed
	@.venv-api/bin/python -c 'import importlib.util as u, sys; sys.exit("torch is here" if u.find_spec("torch") else 0)'
	.venv-api/bin/python -m pytest -q $(SIDE_BY_SIDE) -m "not ($(NOT_QUICK))" tests/darkroom tests/api tests/safety

test: lint test-api    ## everything that CI runs, under 25 minutes
	$(PY) -m pytest $(SIDE_BY_SIDE) -m "not ($(NOT_QUICK))" --cov --cov-report=
	$(PY) -m pytest $(SIDE_BY_SIDE) -m "slow and not (integration or prove or gpu)" --cov --cov-append --cov-report=
	$(PY) -m pytest -n 2 --dist loadfile -m "integration and not (prove or gpu)" --cov --cov-append --cov-report=term:skip-covered

prove: setup           ## the long proofs: every check of bench/reliability at full size, hours
	$(PY) -m pytest -m "prove" --timeout=7200
	$(PY) -m bench.reliability --resume --report

bench: setup           ## the measurements of bench/, an hour or more; each writes its table beside itself
	$(PY) -m bench.api
	$(PY) -m bench.batching models/darkroom-tiny
	$(PY) -m bench.parity models/darkroom-tiny
	$(PY) -m bench.exactness
	$(PY) -m bench.engine.soak
	$(PY) -m bench.service_cost models/darkroom-tiny
	$(PY) -m bench.plan models/darkroom-tiny

lock: setup            ## write requirements/*.txt anew from pyproject.toml
	scripts/lock.sh

clean:                 ## remove caches and reports; the environments and darkroom-data stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.* coverage.xml
	rm -rf build *.egg-info demo-output
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

clean-all: clean       ## remove the environments too
	rm -rf .venv .venv-api .cache
