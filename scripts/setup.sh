#!/usr/bin/env bash
# Prepares a Debian machine to build and test. Safe to repeat; quick when there is nothing to do.
# usage: scripts/setup.sh [--build|--test]    (--test, the default, includes --build)
set -euo pipefail

usage() { echo "usage: scripts/setup.sh [--build|--test]" >&2; exit 2; }
[ $# -le 1 ] || usage
case "${1:---test}" in --build) with_tests= ;; --test) with_tests=1 ;; *) usage ;; esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
min_rust=1.94

ok() { echo "ok: $*"; }
fail() { echo "NOT RUN: $*"; exit 1; }
have() { command -v "$1" >/dev/null; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
log=$scratch/log
# Runs a noisy command; its output appears only when it fails.
quiet() { "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif have sudo && sudo -n true 2>/dev/null; then sudo -n "$@"
    else return 1
    fi
}

# apt_install WHY PACKAGE...
apt_install() {
    local why=$1; shift
    have apt-get || fail "$why (install by hand: $*)"
    as_root true || fail "$why (needs root or sudo to install: $*)"
    quiet as_root apt-get update || fail "$why (apt-get update failed)"
    quiet as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" ||
        fail "$why (apt-get install $* failed)"
}

check_rust() {
    # rustup's default place is not in PATH in every shell.
    have cargo || PATH="$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin"
    have cargo && have rustc || fail "cargo not found (install rust >= $min_rust, see https://rustup.rs)"
    local version note=
    if ! rustc --version &>"$log"; then
        # rustup looks for toolchains under HOME; under another HOME they are still beside its own directory.
        export RUSTUP_HOME
        RUSTUP_HOME=$(dirname "$(command -v rustc)")/../../.rustup
        note=" (needs RUSTUP_HOME=$(realpath -m "$RUSTUP_HOME"))"
        rustc --version &>/dev/null || fail "rustc does not run: $(head -n1 "$log")"
    fi
    version=$(rustc --version | cut -d' ' -f2)
    printf '%s\n' "$min_rust" "$version" | sort -VC || fail "rustc $version is older than $min_rust"
    ok "rustc $version$note"
}

check_cc() {
    have cc || apt_install "no C compiler" build-essential pkg-config cmake
    ok "cc $(cc -dumpversion)"
}

check_bwrap() {
    have bwrap || apt_install "no bubblewrap" bubblewrap
    # Some kernels and containers forbid the namespaces, so try them.
    bwrap --ro-bind / / --dev /dev --proc /proc --unshare-pid --unshare-net --die-with-parent true 2>"$log" ||
        fail "bubblewrap cannot make a sandbox here: $(head -n1 "$log")"
    ok "$(bwrap --version)"
}

check_docker() {
    # The tests start an engine of their own, with an image made of the static programs. Debian's place for it is not in every PATH.
    local search=$PATH:/usr/sbin packages=()
    { PATH=$search command -v dockerd && have docker; } >/dev/null || packages+=(docker.io iptables)
    [ ${#packages[@]} = 0 ] || local fresh=1
    have busybox || packages+=(busybox-static)
    have bash-static || packages+=(bash-static)
    # The image under test takes its certificates from here.
    dpkg-query -W ca-certificates >/dev/null 2>&1 || packages+=(ca-certificates)
    [ ${#packages[@]} = 0 ] || apt_install "no Docker Engine, or no static programs for its image" "${packages[@]}"
    # Debian starts it as a service.
    [ -z "${fresh:-}" ] || ! have systemctl || quiet as_root systemctl disable --now docker.socket docker containerd || true
    ok "$(PATH=$search dockerd --version)"
}

check_ip() {
    PATH="$PATH:/usr/sbin" command -v ip >/dev/null || apt_install "no ip" iproute2
    ok "$(PATH="$PATH:/usr/sbin" ip -V)"
}

check_nats() {
    # Debian's own place for it is not in every user's PATH.
    local server
    server=$(PATH="$PATH:/usr/sbin" command -v nats-server) || {
        apt_install "no nats-server" nats-server
        server=$(PATH="$PATH:/usr/sbin" command -v nats-server) || fail "no nats-server (installed, but not found)"
        # Debian starts it as a service; the tests start their own.
        ! have systemctl || quiet as_root systemctl disable --now nats-server || true
    }
    ok "$("$server" --version)"
}

# The first python3 that can make a venv with pip; Debian's own may come after another one in PATH.
find_python() {
    for python in python3 /usr/bin/python3; do
        ! "$python" -c 'import ensurepip, venv' 2>/dev/null || return 0
    done
    return 1
}

# The programs of the newest Postgres, wherever they are.
find_postgres() {
    local dir
    for dir in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV) $(dirname "$(command -v initdb || echo .)"); do
        [ ! -x "$dir/initdb" ] || [ ! -x "$dir/postgres" ] || { postgres=$dir/postgres; return 0; }
    done
    return 1
}

check_postgres() {
    if ! find_postgres; then
        # Only the programs are wanted: the tests start servers of their own.
        as_root mkdir -p /etc/postgresql-common/createcluster.d || true
        echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.d/perennial.conf >/dev/null || true
        apt_install "no Postgres" postgresql
    fi
    find_postgres || fail "no Postgres (installed, but initdb is not found)"
    local version
    version=$("$postgres" --version | grep -o '[0-9][0-9]*' | head -n1)
    [ "$version" -ge 15 ] || fail "Postgres $version is older than 15"
    # Servers refuse to be root.
    [ "$(id -u)" != 0 ] || id postgres >/dev/null 2>&1 || fail "no user postgres to run its servers as"
    ok "$("$postgres" --version)"
}

check_python() {
    # Debian splits ensurepip off into python3-venv.
    find_python || apt_install "no python3 with venv" python3 python3-venv
    find_python || fail "no python3 with venv (installed, but still cannot import ensurepip)"
    ok "$("$python" --version)"
}

# make_venv SDK_VERSION [REQUIREMENTS]: a stamp holds the requirements it was made from, so a change rebuilds it.
make_venv() {
    local venv=target/test-env/venv-$1 requirements=${2:-tests/sdk/requirements-$1.txt}
    if ! cmp -s "$requirements" "$venv/.stamp" || ! "$venv/bin/python" -c '' 2>/dev/null; then
        quiet "$python" -m venv --clear "$venv" || fail "$venv ($python -m venv failed)"
        quiet "$venv/bin/python" -m pip install --disable-pip-version-check -r "$requirements" ||
            fail "$venv (pip install failed)"
        cp "$requirements" "$venv/.stamp"
    fi
    ok "$venv"
}

# check_harness FOLDER NAME PROGRAM: npm's lockfile pins the version; a stamp holds what is installed.
check_harness() {
    local dir=tests/harnesses/$1 name=$2 program=$3 missing
    for missing in node npm; do
        have $missing || { echo "NOT RUN: $name harness tests ($missing not found)"; return; }
    done
    if ! cmp -s $dir/package-lock.json $dir/node_modules/.stamp; then
        quiet npm ci --prefix $dir --no-audit --no-fund || fail "$name harness tests (npm ci failed)"
        cp $dir/package-lock.json $dir/node_modules/.stamp
    fi
    # A scratch HOME, so that it neither reads nor writes the user's settings.
    HOME=$scratch quiet $dir/node_modules/.bin/$program --version || fail "$name harness tests ($program does not run)"
    ok "$name $(tail -n1 "$log")"
}

check_editor() {
    local dir=tests/editors missing
    for missing in node npm; do
        have $missing || { echo "NOT RUN: editor tests ($missing not found)"; return; }
    done
    if ! cmp -s $dir/package-lock.json $dir/node_modules/.stamp; then
        quiet npm ci --prefix $dir --no-audit --no-fund || fail "editor tests (npm ci failed)"
        cp $dir/package-lock.json $dir/node_modules/.stamp
    fi
    ok "editor client $(grep -m1 -A1 agentclientprotocol/sdk\" $dir/node_modules/.package-lock.json | grep -o '[0-9][0-9.]*' | tail -n1)"
}

check_chromium() {
    have "${CHROMIUM:-chromium}" || apt_install "no Chromium for the console's tests" chromium
    ok "$("${CHROMIUM:-chromium}" --version 2>/dev/null)"
}

check_rust
check_cc
# Before the server is built: its files go into the binary.
scripts/console.sh
if [ "$with_tests" ]; then
    check_bwrap
    check_nats
    check_docker
    check_ip
    check_postgres
    check_python
    make_venv 2.11
    make_venv 1.17
    make_venv mcp tests/mcp/requirements.txt
    ! have node || check_chromium
    check_harness claude claude-code claude
    check_harness codex codex codex
    check_editor
    check_harness mcp "MCP clients, node" node
fi
