import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** A server that runs, for `npm run dev`. */
const server = process.env.PERENNIAL_URL ?? "http://127.0.0.1:7340";

export default defineConfig({
  plugins: [react(), tailwindcss()],
  build: {
    outDir: "dist/app",
    emptyOutDir: true,
    target: "es2022",
    // Inlined files would be `data:` addresses, which the policy does not allow for scripts and styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { "/console": server, "/openapi.json": server, "/v1": { target: server, ws: true } } },
  test: { include: ["src/**/*.test.ts"] },
});
