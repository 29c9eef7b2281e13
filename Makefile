PREFIX  = /usr/local
BINDIR  = $(PREFIX)/bin
LIBDIR  = $(PREFIX)/lib/tmuxorch
MANDIR  = $(PREFIX)/share/man
DOCDIR  = $(PREFIX)/share/doc/tmuxorch
PYTHON  = $(shell python3 -c 'import sys; print(sys._base_executable)')
VENV    = .venv
RUN     = PATH="$(CURDIR)/bin:$(CURDIR)/$(VENV)/bin:$$PATH"
MANUALS = $(wildcard man/*.1 man/*.7)
TREE    = $(DESTDIR)$(LIBDIR)
LINK    = $(shell python3 -c 'import os, sys; print(os.path.relpath(*sys.argv[1:]))' $(LIBDIR) $(BINDIR))
DEPENDS = $(shell sed -n 's/^dependencies = \[\(.*\)\]/\1/p' pyproject.toml | tr -d ,)

help:
	@echo 'make demo | test | test-install | test-agents | contract | chaos | batch | lint | bench | install | uninstall | setup | clean'

setup: $(VENV)/ready
$(VENV)/ready: pyproject.toml
	@dev/need tmux venv
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check $(DEPENDS)
	$(VENV)/bin/python -m compileall -q lib
	@touch $@

$(VENV)/tested: $(VENV)/ready Makefile
	@dev/need bats parallel shellcheck git jq sqlite3 man mandoc promtool
	$(VENV)/bin/pip install -q --disable-pip-version-check pytest hypothesis ruff mypy types-psutil build pipx uv prometheus_client
	@touch $@

demo: setup
	@$(RUN) demo/run

# Two bats tests at once: they wait as much as they compute. `make test JOBS=8` where there are more processors.
JOBS = 2
test: $(VENV)/tested lint
	@$(RUN) python -m pytest tests/unit tests/test_*.py
	@$(RUN) bats -j $(JOBS) -r tests/cmd tests/pipe

# Each way of installing, a real cron and a real systemd, and the documents typed as they stand.
test-install: $(VENV)/tested
	@$(RUN) bats tests/install

test-agents: $(VENV)/tested
	@$(RUN) python -m pytest tests/agents

# Every trap 20 times on the stub and 5 times on each real program: most of an hour.
contract: $(VENV)/tested
	@$(RUN) python -m pytest tests/agents/test_traps.py tests/agents/test_codex.py --times 5

# 200 sends with a kill a round of ten (`make chaos ROUNDS=100` for 1,000), and a batch of 40 projects under faults; another
# SEED draws other faults and other moments.
ROUNDS = 20
WALKS = 5
WATCHES = 20
REPAIRS = 20
DAMAGES = 25
RECORDS = 5000
PROJECTS = 40
SEED = 1
chaos: $(VENV)/tested
	@dev/need faketime
	@$(RUN) python -m pytest -s tests/chaos --rounds $(ROUNDS) --walks $(WALKS) --watches $(WATCHES) --repairs $(REPAIRS) --damages $(DAMAGES) --records $(RECORDS) --projects $(PROJECTS) --seed $(SEED)

# The batch alone: `make batch PROJECTS=100 SEED=7`.
batch: $(VENV)/tested
	@dev/need faketime
	@$(RUN) python -m pytest -s tests/chaos/test_batch.py --projects $(PROJECTS) --seed $(SEED)

lint: $(VENV)/tested
	@shellcheck dev/need bin/tmo-hook cron/* .ci/run
	@mandoc -Tlint -W warning $(MANUALS)
	@$(RUN) ruff check . demo/run
	@$(RUN) ruff format --check . demo/run
	@$(RUN) mypy lib bin/tmo-[!h]* bin/tmo-hold bin/tmo-health

bench: $(VENV)/tested
	@$(RUN) python bench/run.py

schema: setup
	@$(RUN) python dev/schema.py >sql/schema.sql

# The tree below LIBDIR is this one, so that the commands find their library the same way; BINDIR links to it. It is made
# beside the old one and takes its place at once: cron may run it meanwhile.
install: setup
	rm -rf $(TREE).new $(DESTDIR)$(DOCDIR)
	install -d $(TREE).new $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man7 $(DESTDIR)$(DOCDIR)/docs
	cp -R bin cron lib man share sql $(TREE).new
	find $(TREE).new -name __pycache__ -prune -exec rm -rf {} +
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-compile --target $(TREE).new/lib $(DEPENDS)
	for f in $(TREE).new/bin/*; do sed '1s|^#!/usr/bin/env python3|#!$(PYTHON)|' "$$f" >"$$f.new" && cat "$$f.new" >"$$f" && rm "$$f.new"; done
	$(PYTHON) -m compileall -q -d $(LIBDIR)/lib $(TREE).new/lib
	chmod -R u=rwX,go=rX $(TREE).new
	$(MAKE) -s unlink
	rm -rf $(TREE).old && if [ -e $(TREE) ]; then mv $(TREE) $(TREE).old; fi && mv $(TREE).new $(TREE) && rm -rf $(TREE).old
	for f in bin/*; do ln -s $(LINK)/$$f $(DESTDIR)$(BINDIR); done
	for f in $(MANUALS); do install -m 644 $$f $(DESTDIR)$(MANDIR)/man$${f##*.}; done
	for f in README.md NEWS.md docs/*; do install -m 644 $$f $(DESTDIR)$(DOCDIR)/$$f; done

uninstall: unlink
	rm -rf $(TREE) $(DESTDIR)$(DOCDIR)

# By the tree that is there, which may be of another version.
unlink:
	for f in $(TREE)/bin/*; do rm -f $(DESTDIR)$(BINDIR)/$${f##*/}; done
	for f in $(TREE)/man/*; do rm -f $(DESTDIR)$(MANDIR)/man$${f##*.}/$${f##*/}; done

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help setup demo test test-install test-agents contract chaos batch lint bench schema install uninstall unlink clean
