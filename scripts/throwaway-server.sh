# shellcheck shell=bash
# shellcheck disable=SC2154 # top and build come from lib.sh
# Sourced after lib.sh: makes, starts and stops a server of a private installation (scripts/install-private) in a
# scratch directory. It listens on a Unix socket in that directory only, so no port can be taken.
#
#   server_directory  what start_server was given; holds data/, server.log and the socket
#   server_bin        the programs of its PostgreSQL
#
# Clients find it through PGHOST, PGPORT and PGUSER, which start_server exports.

# start_server MAJOR SCRATCH
start_server() {
    local prefix
    server_directory=$2
    prefix=$(readable_by_server "$(private_prefix "$1")" "$2")
    server_bin=$prefix/bin
    [ -x "$server_bin/postgres" ] || fail "PostgreSQL $1 is missing: run scripts/install-private $1"

    # Settings of the caller's own server must not leak in.
    local variable
    for variable in "${!PG@}"; do
        case $variable in PG | PG_ENCRYPT_*) ;; *) unset "$variable" ;; esac
    done
    export PGHOST=$server_directory PGPORT=5432 PGUSER=postgres PGDATABASE=postgres

    as_server_user "$server_bin/initdb" --pgdata="$server_directory/data" --username=postgres --auth=trust \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$server_directory/initdb.log" 2>&1 ||
        fail "initdb failed: $(cat "$server_directory/initdb.log")"
    {
        cat "$top/tests/postgresql.conf"
        printf "unix_socket_directories = '%s'\nlisten_addresses = ''\nport = %s\n" "$PGHOST" "$PGPORT"
    } | as_server_user tee -a "$server_directory/data/postgresql.conf" >/dev/null
    as_server_user "$server_bin/pg_ctl" start --wait --silent --pgdata="$server_directory/data" \
        --log="$server_directory/server.log" ||
        fail "the server did not start: $(cat "$server_directory/server.log")"
}

# stop_server: at once and without a checkpoint, for the data is thrown away.
stop_server() {
    as_server_user "$server_bin/pg_ctl" stop --silent --mode=immediate --pgdata="$server_directory/data" \
        >/dev/null 2>&1
}

# discard_server: for at_exit; also after a start that failed half-way.
discard_server() {
    [ -z "${server_bin:-}" ] || stop_server || true
    rm -rf "$1"
}

# server_has_not_crashed: a backend that dies takes all sessions with it, and the tests that follow may pass
# nevertheless. The command for a stage after the tests.
server_has_not_crashed() {
    ! grep -E 'PANIC:|TRAP:|terminated by signal|terminated abnormally|WARNING:  .*(leaked|reference leak)' \
        "$server_directory/server.log"
}

# use_root_key_file: makes a root key file beside the data directory and tells the server about it. Before the first key.
use_root_key_file() {
    local file=$server_directory/root.key
    # shellcheck disable=SC2016 # $1 is the inner shell's
    as_server_user sh -c 'umask 077 && od --address-radix=n --read-bytes=32 --format=x1 /dev/urandom | tr -d " \n" >"$1"' \
        sh "$file"
    printf "pg_encrypt.root_key = 'file:%s'\n" "$file" |
        as_server_user tee -a "$server_directory/data/postgresql.conf" >/dev/null
    as_server_user "$server_bin/pg_ctl" reload --silent --pgdata="$server_directory/data"
}
