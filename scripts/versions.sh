#!/usr/bin/env bash
# Prints what a result belongs to: commit, compiler, servers, machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/sbin"
# What results are written to counts for none.
dirty=$(git status --porcelain --untracked-files=no -- . ':!tests/results' | grep -q . && echo ' with changes' || true)
echo "commit $(git rev-parse --short HEAD)$dirty, $(uname -srm), $(nproc) cores"
postgres=$(command -v postgres || ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | tail -n1 || true)
for version in "rustc --version" "${postgres:-postgres} --version" "nats-server --version"; do
    echo "versions $($version 2>/dev/null || echo "${version%% *}: none")"
done
for binary in claude codex; do
    program=tests/harnesses/$binary/node_modules/.bin/$binary
    echo "versions $binary $("$program" --version 2>/dev/null || echo none)"
done
