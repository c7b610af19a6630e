# `make` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A build from a tarball has no git: the binary then says "devel".
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 10s
# Extra flags for go test, as in TESTFLAGS='-v -run Resolver'.
TESTFLAGS ?=

# Tests that start the tool find it here.
export DNSPATH_BIN := $(CURDIR)/bin/dnspath

# need-root: stop with one line unless root. $(1): what an ordinary user can do instead.
need-root = $(if $(filter 0,$(shell id -u)),,$(error make $@ needs root, for network namespaces and BPF$(1)))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/dnspath and bin/dnslab, static
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/dnspath ./cmd/dnslab

.PHONY: demo
demo: ## Raise a lab, break its DNS and show what dnspath says (root)
	$(call need-root,)
	@scripts/install-deps run
	@$(MAKE) --no-print-directory build
	bin/dnslab demo

demo-%: build ## Make the failure of a finding, as in make demo-policy-drop
	$(call need-root,)
	@scripts/install-deps run
	bin/dnslab demo $*

# KERNELS='6.12 6.18' selects kernels, RUN=regexp tests, SKIP=regexp leaves some out: docs/kernels.md.
KERNELS ?= 5.10 6.1 6.12 6.18 7.2
RUN     ?=
SKIP    ?=

# matrix runs tests by kernel. $(1): more flags.
matrix = go run ./scripts/vm/matrix -kernels '$(KERNELS)' $(1)

.PHONY: test
test: ## Run all tests, here and on other kernels in QEMU (root)
	$(call need-root,: without it run 'make test-unit')
	@scripts/install-deps test
	@$(MAKE) --no-print-directory build
	$(call matrix,-run '$(RUN)' -skip '$(SKIP)')

.PHONY: test-host
test-host: ## Run all tests on this machine's kernel alone (root)
	$(call need-root,: without it run 'make test-unit')
	@scripts/install-deps test
	@$(MAKE) --no-print-directory build
	go test -tags e2e -count=1 -timeout 20m $(TESTFLAGS) ./...

.PHONY: test-unit
test-unit: ## Run the tests that need no root
	go test $(TESTFLAGS) ./...

.PHONY: test-vm
test-vm: ## Run the end-to-end tests on other kernels alone (root)
	$(call need-root,)
	@scripts/install-deps test
	@$(MAKE) --no-print-directory build
	$(call matrix,-host=false -run '$(RUN)' -skip '$(SKIP)')

.PHONY: findings
findings: ## Print which finding is named on which kernel, with which probes: FINDING=ID for one (root)
	$(call need-root,)
	@scripts/install-deps test
	@$(MAKE) --no-print-directory build
	DNSPATH_ALL=1 $(call matrix,-timeout 3h -run '^TestFindings$$$(if $(FINDING),/^$(FINDING)$$)')

.PHONY: verifier
verifier: ## Measure the verifier's costs on all kernels: commit docs/verifier.md (root)
	$(call need-root,)
	$(call matrix,-host=false -update -run '^TestVerifierCost$$')

.PHONY: bench
bench: ## Measure the cost for a node and of each stage (root)
	$(call need-root,: without it run 'go test -bench . ./...')
	@scripts/install-deps run
	@$(MAKE) --no-print-directory build
	bin/dnslab bench
	go test -run '^$$' -bench . -benchmem $(TESTFLAGS) ./...

# MIXED='--count 10000 --rate 500' makes another load: bin/dnslab mixed --help.
MIXED ?=

.PHONY: bench-mixed
bench-mixed: ## Compare what dnspath tells of 100,000 mixed lookups with what their clients know (root)
	$(call need-root,)
	@scripts/install-deps run
	@$(MAKE) --no-print-directory build
	bin/dnslab mixed $(MIXED)

# HEALTHY='--count 10000 --labs 10' makes a smaller one: bin/dnslab healthy --help.
HEALTHY ?=

.PHONY: bench-checksums
bench-checksums: ## Count the false alarms about checksums of 100,000 healthy lookups, in every lab (root)
	$(call need-root,)
	@scripts/install-deps run
	@$(MAKE) --no-print-directory build
	bin/dnslab healthy $(HEALTHY)

# NOISE='--count 10000 --labs 12' makes a smaller one: bin/dnslab noise --help.
NOISE ?=

.PHONY: bench-findings
bench-findings: ## Count the wrong findings of 100,000 lookups that are nobody's fault, in every lab (root)
	$(call need-root,)
	@scripts/install-deps run
	@$(MAKE) --no-print-directory build
	bin/dnslab noise $(NOISE)

.PHONY: crosscheck
crosscheck: ## Compare 10,000 verdicts on checksums with tshark's, half of them on packets that dnspath sees (root)
	$(call need-root,)
	@scripts/install-deps run
	@scripts/install-deps crosscheck
	@$(MAKE) --no-print-directory build
	bin/dnslab healthy --count 1200 --labs 12 --export bin/events.json -- --events | tail -n 8
	DNSPATH_EVENTS=$(CURDIR)/bin/events.json go test -tags crosscheck -count=1 -v -run '^TestCrosscheck$$' $(TESTFLAGS) ./tracer
	@rm bin/events.json

.PHONY: bench-attach
bench-attach: ## Measure how long attaching takes on 6.12, in QEMU, beside bpftrace (root)
	$(call need-root,)
	@scripts/install-deps vm
	@scripts/install-deps bench
	@$(MAKE) --no-print-directory build
	go run ./scripts/vm/matrix -kernels 6.12 scripts/vm/bench-attach

.PHONY: bench-verdict
bench-verdict: ## Measure how soon a failed lookup is on the screen with its cause, at 1,000 failures a second (root)
	$(call need-root,)
	@scripts/install-deps run
	@$(MAKE) --no-print-directory build
	go test -tags e2e -count=1 -run '^TestVerdictTime$$' -v ./cmd/dnspath
	go test -tags e2e -count=1 -run '^TestCost$$' -v ./internal/nodestate

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (10s)
	scripts/fuzz $(FUZZTIME)

.PHONY: generate
generate: ## Compile bpf/ into gen/: commit the result
	@scripts/install-deps gen
	go generate ./gen
	@$(if $(filter 0,$(shell id -u)),scripts/verifier-cost,)

.PHONY: check
check: ## Check generated code and format, and lint
	scripts/check-generated
	scripts/check-format
	scripts/lint

.PHONY: fmt
fmt: ## Format Go and C
	scripts/check-format --fix

.PHONY: clean
clean: ## Remove what was built, the linter too
	rm -rf bin
