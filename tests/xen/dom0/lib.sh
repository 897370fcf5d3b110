# Sourced by dom0's init and by every scenario: telling results, waiting, and making places for storage.

# report WORDS: one line of what is counted outside, on the console too.
report() {
    echo "$*" | tee /dev/ttyS1
}

# check WHAT COMMAND [ARGUMENT...]: a result of the scenario. It goes on after a failure, and fails at its end.
check() {
    local what=$1
    shift
    if "$@"; then
        report "passed $scenario: $what"
    else
        report "FAILED $scenario: $what"
        failed=1
    fi
}

# equal FOUND WANTED: whether both are the same; shows them if not.
equal() {
    [ "$1" = "$2" ] || { printf -- '--- found\n%s\n--- wanted\n%s\n' "$1" "$2"; return 1; }
}

# contains TEXT PART
contains() {
    case $1 in *"$2"*) ;; *) printf -- '--- found\n%s\n--- wanted within\n%s\n' "$1" "$2"; return 1 ;; esac
}

# wait_until SECONDS COMMAND [ARGUMENT...]: tries until it succeeds.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "waited in vain for: $*"; return 1; }
        sleep 0.1
    done
}

# --- this project ------------------------------------------------------------------------------------------------

# The store's directories, as systemd-tmpfiles makes them at boot.
make_directories() {
    grep '^d ' /usr/lib/tmpfiles.d/qubes-admin.conf | while read -r _ path mode user group _; do
        install -d -m "$mode" -o "$user" -g "$group" "$path"
    done
}

# fresh_store [QUBES_XML]: an empty store, or one with a recorded system's qubes, at `/`.
fresh_store() {
    rm -rf /var/lib/qubes/admin /run/qubes/admin /var/lib/qubes/appvms /var/lib/qubes/vm-templates
    make_directories
    if [ $# = 0 ]; then qubes-admin init; else qubes-admin import "$1"; fi
}

# as_user COMMAND [ARGUMENT...]: as qrexec runs things in dom0.
as_user() {
    (cd / && exec setpriv --reuid user --regid "$(id -g user)" --init-groups env HOME=/home/user "$@")
}

# qrexec CALLER METHOD[+ARGUMENT] DESTINATION: a call as qrexec makes it, payload on standard input. Prints the frame's
# content and tells by the exit status whether it was an OK frame.
qrexec() {
    local method=${2%%+*} argument= reply
    [ "$2" = "$method" ] || argument=${2#*+}
    reply=$(umask 0077 && as_user env QREXEC_REMOTE_DOMAIN="$1" QREXEC_REQUESTED_TARGET_TYPE=name \
        QREXEC_REQUESTED_TARGET="$3" QREXEC_SERVICE_ARGUMENT="$argument" "/etc/qubes-rpc/$method" "$argument" |
        tr '\0' '|')
    echo "${reply#*|}"
    [ "${reply%%|*}" = 0 ]
}

# --- for init ----------------------------------------------------------------------------------------------------

# The names of those to run: all, or the ones named on the kernel's command line (scenarios=NAME:NAME).
scenarios() {
    local wanted
    wanted=$(sed -n 's/.*\<scenarios=\([^ ]*\).*/\1/p' /proc/cmdline)
    if [ -n "$wanted" ]; then
        tr : '\n' <<<"$wanted"
    else
        ls "$SOURCE/tests/xen/scenarios"
    fi
}

# A scenario that does not end is ended. One that stops before its end has failed, whatever it reported.
run_scenario() {
    local start=$SECONDS status=0 script=$SOURCE/tests/xen/scenarios/$1
    report "begin $1"
    bash -n "$script" && scenario=$1 script=$script timeout -k 10 300 bash -u -c '
        failed=0
        . "$SOURCE/tests/xen/dom0/lib.sh"
        . "$script"
        exit $((failed * 99))
    ' </dev/null || status=$?
    case $status in 0 | 99) ;; *) report "FAILED $1: stopped with status $status" ;; esac
    report "end $1: after $((SECONDS - start)) s"
}
