#!/usr/bin/env bash
# Sets up .venv, then checks everything: style, types, layers, manifests, tests, and the whole road in its smallest form.
#   bash infra/test.sh [--venv DIR]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
while [ $# -gt 0 ]; do
    case $1 in
        --venv) [ $# -gt 1 ] || { echo "--venv needs a folder" >&2; exit 2; }; venv=$2; shift 2 ;;
        -h | --help) sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) echo "no option $1; usage: bash infra/test.sh [--venv DIR]" >&2; exit 2 ;;
    esac
done
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac

# shellcheck source=infra/environment.sh
source "$root/infra/environment.sh"
began=$SECONDS
prepare "$root" "$venv" dev
cd "$root"
export OMP_NUM_THREADS=1 # two workers, two cores
failed=()

step() { # step NAME COMMAND...: run it, say how long it took, and go on to the next one whatever came of it
    local name=$1 start=$SECONDS
    shift
    say "== $name"
    if "$@" </dev/null; then
        say "== $name: passed in $((SECONDS - start)) s"
    else
        say "== $name: FAILED after $((SECONDS - start)) s"
        failed+=("$name")
    fi
}

say "== environment: $((SECONDS - began)) s"
began=$SECONDS
step "ruff check" "$venv/bin/ruff" check .
step "ruff format" "$venv/bin/ruff" format --check .
step "types" "$venv/bin/mypy"
step "layers" "$venv/bin/lint-imports"
step "manifests" "$venv/bin/stipple" check
step "tests" "$venv/bin/python" -m pytest -q -n 2 --dist loadfile -m "not system"
step "system tests" "$venv/bin/python" -m pytest -q -n 2 --dist loadfile -m system
step "the road, tiny" "$venv/bin/stipple" run manifests/workflows/tiny.yaml --set "store=.stipple/test/store"
say "== all of it: $((SECONDS - began)) s"
if [ ${#failed[@]} -gt 0 ]; then
    say "FAILED: ${failed[*]}"
    exit 1
fi
