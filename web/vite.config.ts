import react from "@vitejs/plugin-react";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const sdk = (name: string) =>
  fileURLToPath(new URL(`${process.env.TIDEWIRE_SDK ?? "../sdk/typescript"}/${name}/src/index.ts`, import.meta.url));

export default defineConfig({
  // Relative, so that the app works below any path of a proxy.
  base: "./",
  plugins: [react()],
  resolve: {
    // The SDK's source, so that the app needs no built packages of it.
    alias: { "@tidewire/client": sdk("client"), "@tidewire/react": sdk("react") },
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
  },
  test: { environment: "node", include: ["test/**/*.test.{ts,tsx}"] },
});
