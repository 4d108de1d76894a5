#!/usr/bin/env bash
# Builds the web console into api/console/dist, where the server's build finds it. Does nothing when it is fresh, and nothing bad
# where it cannot: a binary without it serves a page that says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../api/console"

skip() { echo "NOT BUILT: the web console ($*)"; exit 0; }

for program in node npm; do
    command -v $program >/dev/null || skip "$program not found; it needs Node 20.19 or later"
done
node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' ||
    skip "Node $(node --version) is older than 20.19"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
quiet() { "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }; }

if ! cmp -s package-lock.json node_modules/.stamp; then
    quiet npm ci --no-audit --no-fund || skip "npm ci failed"
    cp package-lock.json node_modules/.stamp
fi
# What it is made of, in one number.
made_of=$(find ../openapi.json src public scripts index.html package-lock.json tsconfig.json vite.config.ts -type f ! -path src/api/schema.ts -print0 | sort -z | xargs -0 sha256sum | sha256sum)
if [ "$(cat dist/app.stamp 2>/dev/null)" != "$made_of" ] || [ ! -e dist/app/index.html.gz ]; then
    rm -f dist/app.stamp
    quiet npm run --silent build || { rm -rf dist/app; echo "the web console does not build"; exit 1; }
    echo "$made_of" >dist/app.stamp
fi
echo "ok: web console"
