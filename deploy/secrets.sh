#!/usr/bin/env bash
# Makes what compose.yaml's services keep from each other and from everybody else, once; what is there stays as it is.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
# Files in a folder of their owner's alone: services that run as another user have to read what is mounted from it.
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
make() { # NAME TEXT
    [ -e "secrets/$1" ] || { printf '%s' "$2" >"secrets/$1" && chmod 644 "secrets/$1"; }
}
make database_password "$(random)"
make database_url "postgres://perennial:$(cat secrets/database_password)@postgres:5432/perennial"
make seal_key "$(random)"
echo "deploy/secrets is ready"
