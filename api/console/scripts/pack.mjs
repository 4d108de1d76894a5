// After `vite build`: keeps what must be loaded first within its budget, and replaces every file by its compressed forms,
// which is what the binary embeds.
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const BUDGET = 180_000;
const dist = fileURLToPath(new URL("../dist/app", import.meta.url));
const gzip = (bytes) => gzipSync(bytes, { level: 9 });

const page = readFileSync(join(dist, "index.html"), "utf8");
const first = [...page.matchAll(/(?:src|href)="\/(assets\/[^"]+)"/g)].map((match) => match[1]);
const initial = first.reduce((sum, name) => sum + gzip(readFileSync(join(dist, name))).length, 0);
console.log(`initial load: ${(initial / 1000).toFixed(1)} of ${BUDGET / 1000} kB gzip in ${first.length} files`);
if (first.length === 0 || initial > BUDGET) {
  console.error("the initial load is over its budget: make something lazy, or leave it out");
  process.exit(1);
}

const brotli = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath ?? entry.path, entry.name);
  const bytes = readFileSync(path);
  writeFileSync(`${path}.br`, brotliCompressSync(bytes, brotli));
  writeFileSync(`${path}.gz`, gzip(bytes));
  rmSync(path);
}
