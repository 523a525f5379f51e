# The work is in scripts/, so that it can also run where make is missing.

.DEFAULT_GOAL := help

# How long `make fuzz` spends on each fuzz test.
FUZZTIME ?= 10s

# The version of PostgreSQL for `make test-postgres`: 16, 17 or 18.
VERSION ?= 18

# Passed to go test by `make test`, for example TESTFLAGS='-run TestRenew -v'.
TESTFLAGS ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: ## test every module, on real servers that are found or started (TESTFLAGS=…)
	scripts/services run -- scripts/test $(TESTFLAGS)

.PHONY: test-faults
test-faults: ## kill, stop, cut and fill what Keyfold depends on; takes up to two hours (TESTFLAGS=…)
	scripts/services run -- scripts/test-faults $(TESTFLAGS)

.PHONY: test-tidb
test-tidb: ## run the MariaDB tests on TiDB; the first time builds it, which takes minutes
	scripts/tidb run -- scripts/test-tidb

.PHONY: test-postgres
test-postgres: ## run the PostgreSQL tests on another version, which npm provides (VERSION=18)
	scripts/test-postgres $(VERSION)

.PHONY: check
check: lint verify test ## everything CI checks

.PHONY: check-typescript
check-typescript: ## a TypeScript client works with the OpenAPI document; requires Node.js and npm
	scripts/check-typescript

.PHONY: lint
lint: ## formatting, tidy modules, vet, a build without cgo, plain words, staticcheck
	scripts/lint

.PHONY: verify
verify: ## query/ is what sql/ generates, and the SQL keeps its rules
	scripts/verify-sql

.PHONY: generate
generate: ## write query/ from sql/
	scripts/tool sqlc generate

.PHONY: fmt
fmt: ## format the Go files
	scripts/tool gofumpt -w .

.PHONY: fuzz
fuzz: ## run each fuzz test for a while (FUZZTIME=10s)
	scripts/fuzz $(FUZZTIME)

# ROUNDS, BENCHTIME, SECONDS and more: see bench/README.md.
.PHONY: bench
bench: ## measure against the targets and print the table (bench/README.md)
	scripts/services run -- go -C bench run ./cmd/table

.PHONY: build
build: ## build the command into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

.PHONY: clean
clean: ## remove what the other targets wrote
	rm -rf bin artifacts
