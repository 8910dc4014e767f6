# What quickstart.sh and test.sh share: find Python, make the virtual environment, install the pinned packages. Sourced.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }
fail() { say "missing: $*"; exit 1; }

# find_python: the first Python 3.11 or 3.12 that can make virtual environments, in $PYTHON
find_python() {
    local name
    for name in python3.11 python3.12 python3; do
        command -v "$name" >/dev/null || continue
        "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || continue
        PYTHON=$name
        "$name" -c 'import ensurepip, venv' 2>/dev/null && return
        fail "the venv module of $name; as root: apt-get install $name-venv"
    done
    fail "Python 3.11 (or 3.12); as root: apt-get install python3.11 python3.11-venv"
}

# prepare ROOT VENV EXTRA: an environment with stipple in it; EXTRA is '', 'dev' or 'cluster'. Does nothing when all is there.
prepare() {
    local root=$1 venv=$2 extra=$3 wanted have='' whose='' free
    export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} # another checkout that shares the environment may take it over
    wanted=$(cat "$root/pyproject.toml" "$root"/infra/constraints/*.txt | sha256sum | cut -c1-16)
    { read -r have && read -r whose; } 2>/dev/null <"$venv/.stipple-installed" || true
    if [ "$have" = "$wanted dev" ] || [ "$have" = "$wanted $extra" ]; then
        if [ "$whose" != "$root" ]; then
            say "environment: $venv had its stipple from ${whose:-elsewhere}; from now on it is the one in $root"
            "$venv/bin/python" -m pip install -qq --no-deps -e "$root" || fail "the network to a package registry"
            printf '%s\n%s\n' "$have" "$root" >"$venv/.stipple-installed"
        fi
        say "environment: $venv is up to date"
        return
    fi
    if [ ! -x "$venv/bin/python" ]; then
        find_python
        mkdir -p "$(dirname "$venv")"
        free=$(df -Pm "$(dirname "$venv")" | awk 'NR == 2 { print $4 }')
        [ "$free" -ge 10000 ] || fail "room on the disk: $free MB are free where $venv would be, and it needs 10000 MB"
        say "environment: making $venv with $("$PYTHON" --version)"
        "$PYTHON" -m venv "$venv"
    fi
    say "environment: installing the pinned packages (about 8 GB with torch; some minutes)"
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
    "$venv/bin/python" -m pip install -qq --no-deps -r "$root/infra/constraints/no-deps.txt" \
        || fail "a package, or the network to a package registry (see pip's message above)"
    "$venv/bin/python" -m pip install -qq --no-warn-conflicts --prefer-binary -c "$root/infra/constraints/py311.txt" \
        -e "$root${extra:+[$extra]}" || fail "a package, or the network to a package registry (see pip's message above)"
    printf '%s %s\n%s\n' "$wanted" "$extra" "$root" >"$venv/.stipple-installed"
}
