# Sourced by the other scripts: makes .venv once and again whenever the locked versions change.
#
# `use_venv run` installs what the product needs, `use_venv dev` also what the tests need.
# Everything goes to stderr, so that `scripts/ptymux run -- CMD | less` shows only the command.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 125
}

find_python() {
    local name
    for name in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "needs Python 3.11 or newer; install it, or name one with PYTHON=/path/to/python3"
}

install_into_venv() {
    local kind=$1 stamp=$2 python
    shift 2
    if ! [ -x "$venv/bin/python" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
        python=$(find_python) || exit 125
        printf 'ptymux: making %s (once)\n' "$venv" >&2
        rm -rf "$venv"
        "$python" -m venv "$venv" >&2 ||
            fail "cannot make $venv; on Debian and Ubuntu: apt-get install python3-venv"
    fi
    printf 'ptymux: installing what `%s` needs\n' "$kind" >&2
    pip_install "$@" && pip_install --no-deps --no-build-isolation --editable "$root" ||
        fail "pip could not install the packages listed in scripts/; see its message above"
    # Of PYTHONHOME and PYTHONPATH only programs of whoever calls us are to know.
    sed -i '1s/python[0-9.]*$/& -E/' "$venv/bin/ptymux"
    touch "$stamp"
}

# What pip says is shown when it fails: its warnings are about this machine, not about ptymux.
pip_install() {
    local said status=0
    said=$(PIP_ROOT_USER_ACTION=ignore "$venv/bin/python" -m pip install --quiet \
        --disable-pip-version-check --no-input "$@" 2>&1) || status=$?
    [ "$status" = 0 ] || printf '%s\n' "$said" >&2
    return "$status"
}

use_venv() {
    local kind=$1 stamp="$venv/.installed-$1" file newest=
    local files=("$root/scripts/requirements.txt")
    [ "$kind" = dev ] && files+=("$root/scripts/requirements-dev.txt")
    for file in "${files[@]}" "$root/pyproject.toml"; do
        [ "$stamp" -nt "$file" ] || newest=$file
    done
    [ -z "$newest" ] && return
    # Two first uses at once must not install into one folder at the same time.
    exec 9>"$root/.venv.lock" || fail "cannot write to $root"
    flock 9
    if ! [ "$stamp" -nt "$newest" ]; then
        # PYTHONHOME and PYTHONPATH are for programs of whoever calls us.
        (unset PYTHONHOME PYTHONPATH && install_into_venv "$kind" "$stamp" "${files[@]/#/--requirement=}") || exit 125
    fi
    exec 9>&-
}
