# make run, make test: all that a newcomer needs. From another directory: make -C hamlet run
BIN := .venv/bin
PYTHON ?= python3
DATA ?= data
# Extras stay in the lock files: pip 23 does not see that coverage==7.17.3 is what coverage[toml]>=7.10 asks for.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-strip-extras \
	--custom-compile-command "make lock" $(UPGRADE)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< || \
	{ echo "pip cannot install $<. Should it be too old: $(BIN)/python -m pip install --upgrade pip"; exit 1; }
SETS := uci_sms mendeley_sms india_sms youtube spamassassin

.PHONY: run demo test fuzz faults lint format audit lock model bench bench-quick

run: $(BIN)/.installed  ## start the server; PORT=8080 and HOST=0.0.0.0 change where
	@exec $(BIN)/python -m webapp

demo: $(BIN)/.installed  ## with the server running: send it messages, so that there is something to review and monitor
	@$(BIN)/flask demo

test: $(BIN)/.installed-dev  ## run all tests; CI measures their coverage too, which takes a quarter longer
	@$(BIN)/python -m pytest -n auto --dist worksteal $(if $(CI),--cov=webapp --cov-fail-under=95)

lint: $(BIN)/.installed-dev  ## check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(BIN)/.installed-dev  ## put the code into its shape
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

audit: $(BIN)/.installed-dev  ## ask whether a known vulnerability is in anything that is installed
	@$(BIN)/python .ci/audit.py

lock: $(BIN)/.installed-dev  ## after a change of requirements*.txt: write the lock files anew, other packages as they are
	@$(LOCK) requirements.txt --output-file requirements.lock
	@$(LOCK) requirements-dev.txt --constraint requirements.lock --output-file requirements-dev.lock
	@for part in postgres kafka parquet skops; do \
		$(LOCK) requirements-$$part.txt --constraint requirements-dev.lock --output-file requirements-$$part.lock || exit 1; \
	done

model: $(BIN)/.installed  ## train the shipped model anew from DATA=folder; its name ends as the shipped one's if it is the same
	@$(BIN)/flask train \
		$(foreach set,$(SETS),$(DATA)/$(set)_train.csv.gz $(DATA)/$(set)_public.csv.gz) \
		webapp/model/messages.csv --weight old_style 0.1 --threshold 0.6 \
		--test $(DATA)/smishtank_public.csv.gz --test $(DATA)/enron_public.csv.gz \
		--licence uci_sms "CC BY 4.0" --licence mendeley_sms "CC BY 4.0" --licence india_sms "MIT" \
		--licence youtube "free for research (Alberto et al. 2015)" --licence spamassassin "PDDL, CC0" --licence messages "CC0"

fuzz: $(BIN)/.installed-dev .venv-fuzz/.installed  ## try bad input of all kinds for half an hour
	@HAMLET_FUZZ_CASES=20000 $(BIN)/python -m pytest -s tests/test_api_fuzz.py
	@HAMLET_FUZZ_TEXTS=2000 $(BIN)/python -m pytest -n auto tests/test_any_text.py
	@$(BIN)/python benchmarks/patterns.py
	@.venv-fuzz/bin/python tests/fuzz/features.py -max_total_time=600 -max_len=10000 -timeout=5 .venv-fuzz/texts

faults: $(BIN)/.installed-dev  ## kill it, fill its disk, take its files away ... a hundred times; 40 minutes, as root
	@FAULTS=100 $(BIN)/python -m pytest -n auto -rP --durations=0 tests/faults

bench: $(BIN)/.installed .venv-bench/.installed .venv-bench-mlserver/.installed  ## compare speed with other servers
	@$(BIN)/python benchmarks/compare.py
	@$(BIN)/python benchmarks/figures.py
	@$(BIN)/python benchmarks/scoring.py

bench-quick: $(BIN)/.installed .venv-bench/.installed  ## its first lines in three minutes: FastAPI alone
	@$(BIN)/python benchmarks/compare.py --quick

$(BIN)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Hamlet needs Python 3.11 or newer, $(PYTHON) is " + sys.version)'
	@echo "Installing what Hamlet needs into .venv (once, a minute or two) ..."
	@$(PYTHON) -m venv .venv
	@$(INSTALL)
	@touch $@

$(BIN)/.installed-dev: requirements-dev.lock $(BIN)/.installed
	@$(INSTALL)
	@touch $@

.venv-bench/.installed: benchmarks/requirements.txt
.venv-bench-mlserver/.installed: benchmarks/requirements-mlserver.txt
.venv-fuzz/.installed: tests/fuzz/requirements.txt
.venv-bench/.installed .venv-bench-mlserver/.installed .venv-fuzz/.installed:
	@echo "Installing $< into $(@D) (once, a few minutes) ..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
