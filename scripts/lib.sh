# shellcheck shell=bash
# Shared by the scripts beside it, which source it first: paths, messages, temporary directories, and the
# choice of the ordinary user that servers run as. Defines functions and variables, does nothing by itself.

set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$top/build

# Sorting, messages and number formats must not depend on the caller's locale.
export LC_ALL=C.UTF-8

# A backtrace wanted for cargo would end up in the DETAIL of errors that a server sends to its clients.
unset RUST_BACKTRACE RUST_LIB_BACKTRACE

say() { printf '%s\n' "$*"; }
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# usage: prints the comment block at the top of the calling script.
usage() {
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
    exit "${1:-0}"
}

# ---- cleaning up ----------------------------------------------------------------------------------------

# Commands to run at exit, last registered first. Each is one shell word list, already quoted.
exit_commands=()
run_exit_commands() {
    local status=$? i
    trap - EXIT
    trap '' INT TERM HUP
    for ((i = ${#exit_commands[@]} - 1; i >= 0; i--)); do
        eval "${exit_commands[i]}" || true
    done
    exit "$status"
}
at_exit() {
    exit_commands+=("$(printf '%q ' "$@")")
    trap run_exit_commands EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# ---- the server's user ----------------------------------------------------------------------------------

# PostgreSQL refuses to run as root: then servers run as `postgres`, which PostgreSQL's packages create, and
# everybody else's servers run as themselves.
if [ "$(id -u)" = 0 ]; then
    server_user=postgres
else
    server_user=$(id -un)
fi

# as_server_user COMMAND...: runs it as that user, with a home directory it can write to.
as_server_user() {
    if [ "$(id -u)" = 0 ]; then
        HOME=/tmp USER=$server_user LOGNAME=$server_user \
            setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" --init-groups "$@"
    else
        "$@"
    fi
}

# scratch_directory: prints a new directory that belongs to the server's user. Always below /tmp: the path
# of a Unix socket is limited to 107 bytes, and TMPDIR or the checkout may be deeper than that.
scratch_directory() {
    local directory
    directory=$(mktemp -d /tmp/pge.XXXXXX)
    chmod 755 "$directory"
    [ "$(id -u)" != 0 ] || chown "$server_user" "$directory"
    printf '%s\n' "$directory"
}

# readable_by_server DIRECTORY SCRATCH: prints DIRECTORY if the server's user can read it, else the path of
# a copy in SCRATCH. A checkout below a home directory is closed to everybody but its owner.
readable_by_server() {
    local directory=$1 scratch=$2
    if as_server_user test -r "$directory/."; then
        printf '%s\n' "$directory"
    else
        mkdir -p "$scratch/copy"
        cp -a "$directory" "$scratch/copy/"
        chmod -R go+rX "$scratch/copy"
        printf '%s\n' "$scratch/copy/${directory##*/}"
    fi
}

# ---- PostgreSQL installations ---------------------------------------------------------------------------

# The major versions that a full test run covers (for scripts/test).
# shellcheck disable=SC2034
default_majors='15 18'

# private_prefix MAJOR: the private installation that tests run with (made by scripts/install-private).
private_prefix() { printf '%s\n' "$build/pg$1"; }

# packaged_bindir MAJOR: where Debian's packages put that version.
packaged_bindir() { printf '%s\n' "/usr/lib/postgresql/$1/bin"; }

# pgxs_test_directory BINDIR: holds regress/, isolation/ and, in Debian's packages, perl/.
pgxs_test_directory() { printf '%s\n' "$(dirname "$("$1/pg_config" --pgxs)")/../test"; }
