# make run, make test: all that a newcomer needs. Works from any directory (make -C hamlet run).
ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
BIN := $(ROOT)/.venv/bin
PYTHON ?= python3
DATA ?= data
SETS := uci_sms mendeley_sms india_sms youtube spamassassin

.PHONY: run test lint format model bench

run: $(BIN)/.installed  ## start the server; PORT=8080 and HOST=0.0.0.0 change where
	@cd $(ROOT) && exec $(BIN)/python -m webapp

test: $(BIN)/.installed-dev  ## run all tests
	@cd $(ROOT) && $(BIN)/python -m pytest --cov=webapp --cov-fail-under=95

lint: $(BIN)/.installed-dev  ## check style and types
	@cd $(ROOT) && $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(BIN)/.installed-dev  ## put the code into its shape
	@cd $(ROOT) && $(BIN)/ruff check --fix . && $(BIN)/ruff format .

model: $(BIN)/.installed  ## train the shipped model anew from DATA=folder and say whether it is the same
	@cd $(ROOT) && $(BIN)/flask --app wsgi train \
		$(foreach set,$(SETS),$(abspath $(DATA))/$(set)_train.csv.gz $(abspath $(DATA))/$(set)_public.csv.gz) \
		webapp/model/messages.csv --weight messages=0.1 --threshold 0.4 \
		--test $(abspath $(DATA))/smishtank_public.csv.gz --test $(abspath $(DATA))/enron_public.csv.gz \
		--licence "uci_sms=CC BY 4.0" --licence "mendeley_sms=CC BY 4.0" --licence "india_sms=MIT" \
		--licence "youtube=free for research (Alberto et al. 2015)" --licence "spamassassin=PDDL, CC0" --licence "messages=CC0"

bench: $(BIN)/.installed  ## measure speed
	@cd $(ROOT) && $(BIN)/python benchmarks/scoring.py

$(BIN)/.installed: $(ROOT)/requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Hamlet needs Python 3.11 or newer, $(PYTHON) is " + sys.version)'
	@echo "Installing what Hamlet needs into .venv (once, a minute or two) ..."
	@$(PYTHON) -m venv $(ROOT)/.venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(BIN)/.installed-dev: $(ROOT)/requirements-dev.txt $(BIN)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
