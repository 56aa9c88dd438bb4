# shellcheck shell=bash
# shellcheck disable=SC2154 # top and build come from lib.sh
# Sourced after lib.sh: the Python clients of tests/clients, from PyPI, in build/clients.

# install_python_clients: into build/clients/python, in the versions of tests/clients/requirements.txt.
install_python_clients() {
    local requirements=$top/tests/clients/requirements.txt installed=$build/clients
    cmp -s "$requirements" "$installed/python/requirements.txt" && return
    say 'installing clients from PyPI into build/clients'
    rm -rf "$installed/python"
    mkdir -p "$installed"
    # The copy is written last: an interrupted installation is made again.
    python3 -m venv "$installed/python" &&
        "$installed/python/bin/pip" install --quiet --disable-pip-version-check --no-input --requirement "$requirements" &&
        cp "$requirements" "$installed/python/requirements.txt"
}

# lock_clients, unlock_clients: several runs may share a checkout.
lock_clients() {
    mkdir -p "$build"
    exec 8>"$build/.clients.lock"
    flock 8
}
unlock_clients() { flock --unlock 8; }
