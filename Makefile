# What people type. The scripts behind it say what they install and why, and can be run again at any time.
.PHONY: run model web build test check bench bench-gateway bench-edge bench-hedge bench-cache bench-idle bench-web soak help

help: ## Say what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 10

run: build ## Build all that is needed and serve on 127.0.0.1:8080 with the built-in model
	@. scripts/env.sh && exec "$$CARGO_TARGET_DIR/release/tidewire" serve $(ARGS)

build: model web ## Build the program with the built-in model and the web app
	@. scripts/env.sh && cargo build --release --locked -p tidewire-server --features local

web: ## Build the web app, which needs node
	@web/build.sh

model: ## Install build tools that are missing, and fetch the built-in model's weights
	@scripts/setup.sh build
	@scripts/fetch-model.sh

test: ## Run all tests
	@scripts/test.sh

check: ## Check style, lints, licences and sources
	@scripts/check.sh

bench: build ## Measure: sessions over WebSocket, and the built-in model alone
	@scripts/bench.sh

bench-gateway: ## Measure the gateway beside the upstream that it stands in front of (about 5 minutes)
	@. scripts/env.sh && cargo build --release --locked -p tidewire-server && \
	  cargo build --release --locked -p tidewire-testkit --example upstream && scripts/bench-gateway.py $(ARGS)

bench-edge: ## Prove and measure public results behind nginx and Varnish, which it installs where it can (about 2 minutes)
	@. scripts/env.sh && cargo build --release --locked -p tidewire-server && scripts/bench-edge.py --install $(ARGS)

bench-hedge: ## Measure hedging in front of a provider with a slow tail: first tokens with and without, cost, charges (about a minute)
	@. scripts/env.sh && cargo build --release --locked -p tidewire-server && \
	  cargo build --release --locked -p tidewire-testkit --example upstream && scripts/bench-hedge.py $(ARGS)

bench-cache: ## Measure kept, old and joined answers beside answers that are made (about 2 minutes)
	@. scripts/env.sh && cargo build --release --locked -p tidewire-server && \
	  cargo build --release --locked -p tidewire-testkit --example upstream && scripts/bench-cache.py $(ARGS)

bench-idle: ## Measure the memory of idle sessions (half a minute)
	@. scripts/env.sh && cargo build --release --locked -p tidewire-server && scripts/bench-idle.py $(ARGS)

bench-web: web ## Measure the web app in Chromium beside its budgets (about 7 minutes; LONG=1 streams for half an hour)
	@. scripts/env.sh && cargo build --release --locked -p tidewire-server && scripts/bench-web.sh $(ARGS)

soak: ## Run the long proofs (about 90 minutes): kills, cuts, power loss, failing disks, simulation, model, steady load
	@scripts/soak.sh
