#!/usr/bin/env bash
# The rigs with their full counts, a part at a time: each writes its own file under tests/results/torture when it is through, and
# all of them together are tests/results/torture.txt. A part that fails keeps its earlier result and leaves what it said beside it.
# usage: scripts/torture.sh [PART…]    (none: all of them; --list: what they are; --assemble: the whole from the parts)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

results=tests/results/torture
# Name, about how many minutes on two cores, what is run.
parts=(
    "machine     5  e2e -- --skip mail:: --skip tasks::"
    "mail        6  e2e -- mail:: tasks::"
    "hands       8  hands --"
    "harnesses  32  harness_rig --"
    "faults     30  cluster -- faults::"
    "upgrades    6  cluster -- upgrades::"
    "clients     8  cluster -- repeats:: storms::"
    "tenants     4  cluster -- tenants::"
    "letters     5  cluster -- letters::"
    "cluster     6  cluster -- --skip faults:: --skip upgrades:: --skip repeats:: --skip storms:: --skip tenants:: --skip letters::"
    "simulation 40  simulation"
)
seeds=${PERENNIAL_SEEDS:-1000000}
stretch=100000
lines='^(commit|versions|took|seed|ring |failpoints:|random moments:|claude-code |codex |simulation:|  [a-z].*: [0-9]+$|NOT RUN|test )'

name_of() { awk '{print $1}' <<<"$1"; }
minutes_of() { awk '{print $2}' <<<"$1"; }
list() { for part in "${parts[@]}"; do printf '%-11s about %3d min\n' "$(name_of "$part")" "$(minutes_of "$part")"; done; }

# All parts, each with the commit it was run at.
assemble() {
    echo "# Results of \`make torture\`, part by part; each was run at the commit it names."
    for part in "${parts[@]}"; do
        printf '\n== %s\n' "$(name_of "$part")"
        cat "$results/$(name_of "$part").txt" 2>/dev/null || echo "not run yet"
    done
}

# A hundred thousand seeds at a time: what was run of this very commit is not run again, wherever the last one was cut short.
simulation() {
    local first count said=$results/simulation.running
    for ((first = 1; first <= seeds; first += stretch)); do
        count=$((seeds - first + 1 < stretch ? seeds - first + 1 : stretch))
        grep -q "^simulation: $count seeds from $first in" "$said" && continue
        PERENNIAL_FIRST_SEED=$first PERENNIAL_SEEDS=$count cargo test --locked --release -p perennial-tests --test simulation \
            no_seed_breaks_a_promise -- --nocapture || return 1
    done
    echo "simulation: $seeds seeds in all, 0 violations"
}

tests() {
    local target=$1
    shift
    if [ "$target" = simulation ]; then
        simulation
    else
        # What is asked of the test runner comes after the dashes.
        [ "${1:-}" = -- ] && shift
        PERENNIAL_TORTURE=1 cargo test --locked --workspace --features perennial/failpoints --test "$target" -- \
            --nocapture --test-threads=1 "$@"
    fi
}

chosen=()
for name in "$@"; do
    case $name in
        --list) list; exit ;;
        --assemble) assemble >tests/results/torture.txt; exit ;;
    esac
    found=
    for part in "${parts[@]}"; do
        if [ "$(name_of "$part")" = "$name" ]; then chosen+=("$part"); found=1; fi
    done
    [ -n "$found" ] || { echo "no part $name; there are:" >&2; list >&2; exit 2; }
done
[ $# -gt 0 ] || chosen=("${parts[@]}")

mkdir -p "$results"
cargo build --workspace --locked --features perennial/failpoints
failed=()
for index in "${!chosen[@]}"; do
    read -r name minutes target rest <<<"${chosen[$index]}"
    echo "torture: $name, part $((index + 1)) of ${#chosen[@]}, about $minutes min from $(date +%H:%M)"
    began=$SECONDS
    said=$results/$name.running
    # Only a part that can go on where it was left keeps what is there.
    if [ "$name" != simulation ] || ! grep -qsx "$(scripts/versions.sh | head -1)" "$said"; then
        scripts/versions.sh >"$said"
    fi
    # The whole of it is shown, so that somebody who waits sees that it goes on; what counts is kept.
    # shellcheck disable=SC2086  # words of the table above
    if tests "$target" ${rest:-} 2>&1 | tee /dev/stderr | { grep --line-buffered -E "$lines" || true; } >>"$said"; then
        echo "took $((SECONDS - began)) s" >>"$said"
        mv "$said" "$results/$name.txt"
        rm -f "$results/$name.failed"
    else
        mv "$said" "$results/$name.failed"
        failed+=("$name")
    fi
    assemble >tests/results/torture.txt
    echo "torture: $name took $((SECONDS - began)) s"
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "torture: FAILED: ${failed[*]}; see $results/*.failed; earlier results of these parts stay" >&2
    exit 1
fi
