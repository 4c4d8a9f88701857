#!/usr/bin/env bash
# ./reproduce.sh TARGET [options]   make a table or figure (options of `lamd reproduce`)
# ./reproduce.sh list               name the targets
# ./reproduce.sh test [options]     run the tests (options of pytest)
#
# Uses the active virtual environment, or makes .venv here. Installs once; a change of
# pyproject.toml or of Python installs again. Relative paths in options start at this folder.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

usage() {
    sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"
}

fail() {
    echo "reproduce.sh: $1" >&2
    exit "${2:-2}"
}

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11 python; do
        if command -v "$name" >/dev/null &&
            "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.11 or newer (with venv) was not found; install it, e.g. python3.11 and python3.11-venv"
}

# Prints the folder of the environment to use.
choose_environment() {
    if [[ -n "${VIRTUAL_ENV:-}" && -x "$VIRTUAL_ENV/bin/python" ]]; then
        echo "$VIRTUAL_ENV"
    elif [[ -n "${CONDA_PREFIX:-}" && "${CONDA_DEFAULT_ENV:-base}" != base && -x "$CONDA_PREFIX/bin/python" ]]; then
        echo "$CONDA_PREFIX"
    else
        echo "$here/.venv"
    fi
}

# install ENVIRONMENT EXTRA: pip install -e .[EXTRA] unless this very pyproject.toml is installed.
install() {
    local environment=$1 extra=$2 wanted stamp log package=$here
    wanted="$(cksum <"$here/pyproject.toml") $here $("$environment/bin/python" --version)"
    for stamp in "$environment"/.lamd-installed-{"${extra:-core}",test}; do
        if [[ -f "$stamp" && "$(<"$stamp")" == "$wanted" ]]; then
            return
        fi
    done
    "$environment/bin/python" -m pip --version >/dev/null 2>&1 ||
        fail "$environment has no pip; run $environment/bin/python -m ensurepip and start again"
    stamp="$environment/.lamd-installed-${extra:-core}"
    [[ -n "$extra" ]] && package="$here[$extra]"
    echo "reproduce.sh: installing lamd${extra:+ with its $extra packages} into $environment (PyTorch and others, about 6 GB once)" >&2
    log="$environment/lamd-install.log"
    if ! "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        -e "$package" >"$log" 2>&1; then
        # Only pip's own ERROR lines, without addresses: an index URL may hold a password.
        grep -E '^ *ERROR' "$log" | sed -E 's#[a-z+]+://[^ ]*#<address>#g' | head -n 5 >&2 || true
        fail "pip could not install the packages; fix the network or disk and start again (log: $log)" 1
    fi
    echo "$wanted" >"$stamp"
}

main() {
    local environment extra=""
    if [[ $# -eq 0 || "$1" == -h || "$1" == --help ]]; then
        usage
        exit $(($# == 0 ? 2 : 0))
    fi
    [[ "$1" == test ]] && extra=test
    environment=$(choose_environment)
    if [[ ! -x "$environment/bin/python" || ("$environment" == "$here/.venv" && ! -x "$environment/bin/pip") ]]; then
        local python clear=""
        python=$(find_python)
        echo "reproduce.sh: making $environment with $("$python" --version)" >&2
        [[ -x "$environment/bin/python" ]] || clear=--clear  # venv keeps a dangling link
        "$python" -m venv ${clear:+"$clear"} "$environment"
    fi
    "$environment/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$environment has Python older than 3.11; leave it (deactivate) or delete it and start again"
    install "$environment" "$extra"

    cd "$here"
    case "$1" in
        list) exec "$environment/bin/python" -m lamd list ;;
        test)  # a later -n 0 runs them in one process
            exec "$environment/bin/python" -m pytest -n logical --maxprocesses 8 --dist loadfile "${@:2}" ;;
        *) exec "$environment/bin/python" -m lamd reproduce "$@" ;;
    esac
}

main "$@"
