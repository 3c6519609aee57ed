import { defineConfig } from "vitest/config";

// Each package's own source, not what was built of it.
const resolve = { conditions: ["@tidewire/source"] };
const ssr = { resolve };
/** Tells stuck from slow, on a busy machine too. */
const PATIENCE = { testTimeout: 60_000, hookTimeout: 60_000 };

export default defineConfig({
  test: {
    projects: [
      { resolve, ssr, test: { ...PATIENCE, name: "client", include: ["client/test/unit/**/*.test.ts"] } },
      {
        resolve,
        ssr,
        test: { ...PATIENCE, name: "react", include: ["react/test/**/*.test.tsx"], environment: "happy-dom" },
      },
      {
        resolve,
        ssr,
        test: {
          ...PATIENCE,
          name: "integration",
          include: ["client/test/integration/**/*.test.ts"],
        },
      },
    ],
  },
});
