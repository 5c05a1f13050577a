# `make` or `make help` lists what there is. Plain make and POSIX sh, so that it also runs with macOS's make 3.81.

## PYTHON=python3         the Python (3.11 or newer) that the environment in .venv is made from
PYTHON ?= python3
## LAB_ARGS=              more options for JupyterLab, such as LAB_ARGS=--no-browser
LAB_ARGS ?=
## CHROMIUM=              the browser for `make ui`, where it is not on the PATH
CHROMIUM ?=
## WORKERS=2              processes for `make check` and `make notebooks`
WORKERS ?= 2

export CHROMIUM

BIN := .venv/bin
INSTALLED := .venv/.installed
INSTALLED_DEV := .venv/.installed-dev

# Nothing is fetched, no progress bar reaches a compared output, and no library starts more threads than its share.
OFFLINE := HF_HUB_OFFLINE=1 TQDM_DISABLE=1 RAY_USAGE_STATS_ENABLED=0 TOKENIZERS_PARALLELISM=false
ONE_THREAD := OMP_NUM_THREADS=1

# JupyterLab on this machine only, with its token, and without its own calls for news, updates and extensions.
# The first notebook is the default address, not an argument: so the link printed with --no-browser leads to it as well.
LAB := $(BIN)/jupyter-lab --ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
	--LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.extension_manager=readonly \
	$(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help lab test check notebooks ui bench assets reproduce clean chromium

help: ## this list
	@echo "Targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'
	@echo "Variables:"
	@sed -n 's/^## \([A-Z_]*\)=\([^ ]*\) *\(.*\)/\1=\2|\3/p' Makefile | awk -F'|' '{ printf "  %-17s %s\n", $$1, $$2 }'

lab: $(INSTALLED) ## open JupyterLab on the first notebook (the first call installs, later ones start at once)
	$(LAB) $(LAB_ARGS)

test: check notebooks ui ## everything that must pass: check, notebooks, ui

check: $(INSTALLED_DEV) ## format, lint and unit tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(OFFLINE) $(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS) tests --ignore=tests/ui

notebooks: $(INSTALLED_DEV) ## run every notebook and compare the cells tagged nbval-check-output
	$(OFFLINE) $(ONE_THREAD) $(BIN)/python -m pytest -q --nbval-lax --nbval-current-env --nbval-cell-timeout=300 \
		--nbval-sanitize-with tests/nbval.cfg notebooks -n $(WORKERS) --dist loadscope

ui: $(INSTALLED_DEV) chromium ## drive the panels in a real JupyterLab with a real browser
	$(OFFLINE) $(BIN)/python -m pytest -q tests/ui --output tests/ui/output --screenshot only-on-failure

bench: $(INSTALLED) ## speed and memory, each beside a peer or a physical limit
	@set -e; for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

assets: $(INSTALLED) ## train what ships again, measure it, write the cards (hours; each recipe resumes)
	$(BIN)/python -m recipes.align_features
	$(BIN)/python -m recipes.align_prototypes
	$(BIN)/python -m recipes.measure_stamps
	$(BIN)/python -m recipes.measure_class_maps
	$(BIN)/python -m recipes.scenes_clip
	$(BIN)/python -m recipes.measure_scenes
	$(BIN)/python -m recipes.scenes_lvlm
	$(BIN)/python -m recipes.measure_scenes_lvlm
	$(BIN)/python -m recipes.scenes_lvlm_card
	$(BIN)/python -m recipes.measure_prompts
	$(BIN)/python -m recipes.measure_rules
	$(BIN)/python -m recipes.measure_isoclip
	$(BIN)/python -m recipes.self_supervised
	$(BIN)/python -m recipes.measure_alignability
	$(BIN)/python -m recipes.measure_sail
	$(BIN)/python -m recipes.measure_rules_photos
	$(BIN)/python -m recipes.pair_heads
	$(BIN)/python -m recipes.fine_tune_scenes
	$(BIN)/python -m recipes.fine_tune_models
	$(BIN)/python -m recipes.tune_scenes_lvlm
	$(BIN)/python -m recipes.look_into_lvlm
	$(BIN)/python -m recipes.tuned_lvlm
	$(BIN)/python -m recipes.scenes_card
	$(BIN)/python -m recipes.cards

reproduce: $(INSTALLED) ## run all notebooks, store their outputs, print the claims and write CLAIMS.md
	$(OFFLINE) $(BIN)/python -m workbench reproduce

clean: ## remove caches and build outputs (the environment stays: that is `rm -rf .venv`)
	rm -rf build dist .pytest_cache .ruff_cache tests/ui/output
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +

# Versions first, then the package itself without its ranges: pip has nothing left to resolve.
$(INSTALLED): requirements.txt pyproject.toml
	@test -x $(BIN)/pip || { \
		$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 ...")' && \
		echo "Making .venv; the first installation downloads some gigabytes." && $(PYTHON) -m venv .venv; }
	$(BIN)/python -m pip install -r requirements.txt
	$(BIN)/python -m pip install --no-deps -e .
	@# Otherwise JupyterLab asks, on top of the first notebook, whether it may fetch news.
	$(BIN)/jupyter labextension disable --level=sys_prefix "@jupyterlab/apputils-extension:announcements" >/dev/null 2>&1
	@touch $@

$(INSTALLED_DEV): requirements-dev.txt $(INSTALLED)
	$(BIN)/python -m pip install -r requirements-dev.txt
	@touch $@

# The system's Chromium: playwright's own would be one more download from one more place. Same search as tests/ui/conftest.py.
chromium:
	@{ command -v "$${CHROMIUM:-chromium}" || command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null && exit 0; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo="sudo -n"; \
	if command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
		$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation && exit 0; \
	fi; \
	echo "make ui needs Chromium or Chrome: install the package 'chromium', or name the browser: make ui CHROMIUM=/path/to/chrome" >&2; exit 1
