# `make` alone says what there is. Needs GNU make and a POSIX shell.

CARGO ?= cargo
# KEEP=1 leaves the demo running.
KEEP ?=
# PICTURE=docs/images/demo.svg draws the demo's screen.
PICTURE ?=
# Arguments for the programs that measure: make bench ARGS='--n 500', make soak ARGS='--seed 7 --minutes 10',
# make isolation ARGS='--short', make model ARGS='two operators'
ARGS ?=
# What `make release` pushes to and signs with: a registry with a path, such as registry.example.com/video, and PEM files of
# a code-signing certificate; CA_FILE=ca.crt for a registry whose CA this machine does not trust.
REGISTRY ?=
KEY ?=
CERTIFICATE ?=
CA_FILE ?=
export REGISTRY KEY CERTIFICATE CA_FILE
# FIPS=1 makes the image with AWS-LC's FIPS module: docs/how-to/fips.md
FIPS ?=
export FIPS

# Another Kubernetes to test against, such as the oldest that is supported: make test K8S=1.33
K8S ?=
export K8S
# Where `make plugin` puts the plugin.
BIN ?= $(HOME)/.local/bin

# cargo shares out its own jobs; neither it nor a build script may read ours.
unexport MAKEFLAGS MFLAGS MAKELEVEL
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo demo-takes test lint bench soak isolation explore hostile model simulate at-rest fleet fips fuzz crds chart manifests plugin tools browser image image-check release release-check archive e2e control-plane needs-rust needs-fips needs-control-plane

# $(call need,PROGRAM,WHAT TO INSTALL): one sentence and an end, if PROGRAM is missing.
need = command -v $(1) >/dev/null 2>&1 || { echo "$(1) is missing: install $(2)." >&2; exit 1; }

# Where cargo puts what it builds: CARGO_TARGET_DIR, or what its configuration says.
target_dir = $(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 14

demo: needs-control-plane needs-rust demo-takes control-plane ## from nothing to a table of tokens, and one live renewal; KEEP=1 leaves it running
	@echo 'Building the operator and the demo.'
	@# of the workspace only what the demo runs, with the features that the tests have
	@$(CARGO) build --workspace --bin video-token-operator --bin videotoken --bin demo
	@KEEP='$(KEEP)' PICTURE='$(PICTURE)' "$$($(target_dir))/debug/demo"

demo-takes:
	@tests/testkit/demo-takes.sh "$$($(target_dir))"

test: needs-control-plane needs-rust control-plane tools browser ## every test, against a real API server; K8S=1.33: the oldest supported one
	@echo 'Building the tests.'
	@$(CARGO) test --workspace --no-run
	@echo 'Running the tests.'
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --workspace --no-fail-fast && $(CARGO) test --workspace --doc; \
	else \
	  CARGO='$(CARGO)' tests/run.sh; \
	fi

lint: needs-rust ## formatting and lints; each warning is an error
	@$(CARGO) fmt --version >/dev/null 2>&1 || { echo "rustfmt is missing: rustup component add rustfmt." >&2; exit 1; }
	@$(CARGO) clippy --version >/dev/null 2>&1 || { echo "clippy is missing: rustup component add clippy." >&2; exit 1; }
	$(CARGO) fmt --all -- --check
	@# modules that a table declares, which `cargo fmt` doesn't find
	rustfmt --check --edition 2024 crates/*/src/*.rs
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if command -v go >/dev/null; then "$$(tests/publish/build.sh)/actionlint" .github/workflows/*.yml; \
	  else echo 'actionlint is left out: Go is missing.'; fi
	@# advisories need a database from the network, which `cargo deny check` fetches
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --offline check bans licenses sources; \
	  else echo 'cargo deny is left out: cargo install cargo-deny.'; fi

bench: needs-control-plane needs-rust control-plane ## tokens per second, writes per renewal, memory, restart; into target/bench.json
	@echo 'Building the operator and the bench, optimised.'
	@$(CARGO) build --release -p video-token-operator -p videotoken
	@$(CARGO) run --release -p testkit --bin bench -- $(ARGS)

fuzz: needs-rust ## each response parser, the JWT reader, declared requests and templates, 60 s each (SECONDS_EACH); finds panics and what takes too much
	@$(call need,c++,a C++ compiler: the package g++ or clang)
	@fuzz/run.sh

soak: needs-control-plane needs-rust control-plane tools ## faults and hostile neighbours for ten minutes, and a verdict; into target/soak.json and soak.svg
	@echo 'Building the operator and the soak.'
	@$(CARGO) build -p video-token-operator -p testkit --bins
	@"$$($(target_dir))/debug/soak" $(ARGS)

isolation: needs-control-plane needs-rust control-plane ## a victim beside each of 25 attacks, one row each; into target/isolation.json; ARGS='--only NAME'
	@echo 'Building the operator and the attacks.'
	@$(CARGO) build -p video-token-operator -p testkit --bins
	@"$$($(target_dir))/debug/isolation" $(ARGS)

explore: needs-control-plane needs-rust control-plane ## each disturbance at each request of each scenario; ARGS='--share 10 --seed 7', ARGS="--plan 'LINE'"
	@echo 'Building the operator and the explorer.'
	@$(CARGO) build --workspace --bins
	@"$$($(target_dir))/debug/explore" $(ARGS)

hostile: needs-control-plane needs-rust control-plane ## objects at and beyond the CRDs' bounds beside a victim; ARGS='--seed 7 --objects 500'
	@echo 'Building the operator and the generator.'
	@$(CARGO) build -p video-token-operator -p testkit --bins
	@"$$($(target_dir))/debug/hostile" $(ARGS)

model: needs-rust ## every order of events in small worlds, by the operator's own decisions; ARGS='two operators' for some of them
	@$(CARGO) build --workspace --bins
	@"$$($(target_dir))/debug/model" $(ARGS)

simulate: needs-rust ## the operator in virtual time, with faults by seed; ARGS='--seed 7 --minutes 1440 --tokens 50 --operators 2 --faults all', ARGS='--sweep ...'
	@echo 'Building the simulation.'
	@$(CARGO) build --workspace --bin simulate
	@"$$($(target_dir))/debug/simulate" $(ARGS)

at-rest: needs-rust ## CPU of an operator whose tokens aren't due, in virtual time; ARGS='--tokens 1000000'
	@echo 'Building the simulation.'
	@$(CARGO) build --release --workspace --bin at_rest
	@"$$($(target_dir))/release/at_rest" $(ARGS)

fleet: needs-rust ## many clusters with one account, as a table; ARGS='--only 90% --seed 7', ARGS='--picture fleet.svg'
	@$(CARGO) build --workspace --bin fleet
	@"$$($(target_dir))/debug/fleet" $(ARGS)

fips: needs-control-plane needs-rust needs-fips control-plane ## both programs with AWS-LC's FIPS module, and the tests of that build; needs CMake, Go and Perl
	@echo 'Building with the FIPS module. The first build takes minutes.'
	@$(CARGO) test --workspace --features video-token-operator/fips,videotoken/fips --test fips --test issuer_http
	@$(CARGO) test --workspace --features video-token-operator/fips,videotoken/fips --test offline version

crds: needs-rust ## write crds/ anew from the types; `make chart` then brings the chart's up to date
	@UPDATE=1 $(CARGO) test --quiet --test crds
	@git status --short crds 2>/dev/null || true

chart: needs-control-plane needs-rust tools ## generate files from the chart, the types and the program: CRDs, README tables, deploy/, docs/reference/
	@UPDATE=1 $(CARGO) test --quiet --test chart kept_equal
	@git status --short charts deploy docs 2>/dev/null || true

manifests: chart

plugin: needs-rust ## videotoken, optimised, also as kubectl videotoken with its completions; into BIN, ~/.local/bin
	@$(CARGO) build --release -p videotoken
	@mkdir -p "$(BIN)"
	@install -m 755 "$$($(target_dir))/release/videotoken" "$(BIN)/videotoken"
	@ln -sf videotoken "$(BIN)/kubectl-videotoken"
	@ln -sf videotoken "$(BIN)/kubectl_complete-videotoken"
	@case ":$$PATH:" in *":$(BIN):"*) echo 'Installed: kubectl videotoken' ;; *) echo 'Installed; put $(BIN) on PATH, then: kubectl videotoken' ;; esac

image: needs-rust $(if $(FIPS),needs-fips) ## the container image as an OCI archive, without an engine, and its SBOM; into dist/; FIPS=1: with the FIPS module
	@image/build.sh
	@image/cross.sh build

release: needs-control-plane needs-rust release-check image archive ## image, chart, archives, krew manifest and OLM bundle into dist/release, pushed and signed; REGISTRY, KEY, CERTIFICATE
	@image/release.sh

# what `make release` needs, before it builds for minutes
release-check:
	@image/release.sh --check

archive: needs-rust ## the command-line tool with its manual pages as a .tar.gz, and its checksum; into dist/
	@image/tool.sh
	@image/cross.sh tool

e2e: needs-control-plane needs-rust image ## installed by helm on a real node, through three renewals, an upgrade and a loss; needs root; FIPS=1: the image with the FIPS module
	@tests/e2e/run.sh

image-check: needs-rust ## two builds of the image in two places; the same bits? Takes as long as two release builds
	@image/check.sh

tools:
	@tests/tools/build.sh >/dev/null
	@tests/tools/openapi.sh >/dev/null
	@tests/publish/build.sh >/dev/null

browser:
	@tests/tools/chromium.sh >/dev/null

control-plane:
	@tests/controlplane/build.sh >/dev/null

needs-rust:
	@$(call need,$(CARGO),Rust with rustup from https://rustup.rs)
	@$(call need,cc,a C compiler: the package gcc or clang)

# What builds and seals the FIPS module.
needs-fips:
	@$(call need,cmake,CMake: the package cmake)
	@$(call need,go,Go from https://go.dev/dl)
	@$(call need,perl,Perl: the package perl)

needs-control-plane:
	@$(call need,bash,bash)
	@test -n "$$KUBEBUILDER_ASSETS" || { $(call need,go,Go from https://go.dev/dl) }
