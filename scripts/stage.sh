# shellcheck shell=bash
# shellcheck disable=SC2154 # top and build come from lib.sh
# Sourced after lib.sh by the runners: a stage is one command with a name, a log and a number of tests.
#
#   stage NAME KIND COMMAND...
#
# runs COMMAND with its output in build/log/NAME.log, prints one line with the outcome and, if it failed, the
# end of the log. KIND says how scripts/count-results finds the tests in the log. V=1 shows the output live.
# Runners end with finish_stages, whose status tells whether everything passed.
#
# If PG_ENCRYPT_SUMMARY names a file, a line "name, passed, failed, skipped, seconds" with tabs is added to it.

failed_stages=0

stage() {
    local name=$1 kind=$2 status=0 started=$SECONDS passed failed skipped
    shift 2
    local log=$build/log/${name// /-}.log
    mkdir -p "$build/log"

    printf '%-32s ' "$name"
    if [ -n "${V:-}" ]; then
        printf '\n'
        { "$@" </dev/null 2>&1 || status=$?; } > >(tee "$log")
        wait $!
        printf '%-32s ' "$name"
    else
        "$@" >"$log" 2>&1 </dev/null || status=$?
    fi

    read -r passed failed skipped < <("$top/scripts/count-results" "$kind" "$log")
    # A command that failed has failed, whatever could be counted; and a runner that ran nothing proves nothing.
    if [ "$failed" = 0 ] && { [ "$status" != 0 ] || { [ "$kind" != check ] && [ "$((passed + skipped))" = 0 ]; }; }; then
        failed=1
    fi
    if [ -n "${PG_ENCRYPT_SUMMARY:-}" ]; then
        printf '%s\t%d\t%d\t%d\t%d\n' "$name" "$passed" "$failed" "$skipped" $((SECONDS - started)) \
            >>"$PG_ENCRYPT_SUMMARY"
    fi

    if [ "$failed" = 0 ]; then
        [ "$kind" = check ] || printf '%d passed' "$passed"
        [ "$skipped" = 0 ] || printf ', %d skipped' "$skipped"
        [ "$kind" != check ] || printf 'ok'
        printf ' (%d s)\n' $((SECONDS - started))
        return 0
    fi
    failed_stages=$((failed_stages + 1))
    printf 'FAILED: %d failed, %d passed (%d s), log %s\n' \
        "$failed" "$passed" $((SECONDS - started)) "${log#"$top"/}"
    [ -n "${V:-}" ] || { grep -vE '^ *(Compiling|Checking|Downloaded) ' "$log" || true; } | tail -n 200 | sed 's/^/    /'
    return 1
}

finish_stages() { exit $((failed_stages > 0)); }
