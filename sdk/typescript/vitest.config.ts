import { defineConfig } from "vitest/config";

// Each package's own source, not what was built of it.
const resolve = { conditions: ["@tidewire/source"] };
const ssr = { resolve };

export default defineConfig({
  test: {
    projects: [
      { resolve, ssr, test: { name: "client", include: ["client/test/unit/**/*.test.ts"] } },
      {
        resolve,
        ssr,
        test: { name: "react", include: ["react/test/**/*.test.tsx"], environment: "happy-dom" },
      },
      {
        resolve,
        ssr,
        test: {
          name: "integration",
          include: ["client/test/integration/**/*.test.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
