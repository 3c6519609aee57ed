// The protocol's own tests. Their command finds no tests when it is installed from npm, so vitest runs them.
import { runConformanceTests } from "@durable-streams/server-conformance-tests"

runConformanceTests({ baseUrl: process.env.TIDEWIRE_URL, longPollTimeoutMs: Number(process.env.TIDEWIRE_LONG_POLL_MS) })
