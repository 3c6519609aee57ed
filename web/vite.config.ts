import react from "@vitejs/plugin-react";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const sdk = (name: string, file = "index") =>
  fileURLToPath(new URL(`${process.env.TIDEWIRE_SDK ?? "../sdk/typescript"}/${name}/src/${file}.ts`, import.meta.url));

export default defineConfig({
  // Relative, so that the app works below any path of a proxy.
  base: "./",
  plugins: [react()],
  resolve: {
    // The SDK's source, so that the app needs no built packages of it.
    alias: {
      // What the SDK keeps to itself and the operations' stream needs too: one reader of server-sent events, one backoff.
      "@tidewire/client/sse": sdk("client", "sse-parser"),
      "@tidewire/client/clock": sdk("client", "clock"),
      "@tidewire/client": sdk("client"),
      "@tidewire/react": sdk("react"),
    },
    dedupe: ["react", "react-dom"],
  },
  // `npm run dev` beside a server that runs: the page and what it asks have one origin, as they have there.
  server: {
    proxy: {
      "/v1": { target: process.env.TIDEWIRE_URL ?? "http://127.0.0.1:8080", ws: true },
      "/readyz": process.env.TIDEWIRE_URL ?? "http://127.0.0.1:8080",
    },
  },
  build: {
    outDir: "dist/app",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    // All charts share one uPlot, beside their own few lines.
    rolldownOptions: { output: { codeSplitting: { groups: [{ name: "uplot", test: /node_modules[\\/]uplot/ }] } } },
  },
  test: { environment: "node", include: ["test/**/*.test.{ts,tsx}"] },
});
