# What is installed besides files: the links by which qrexec finds each call and its settings, and the store's directories.
# Read by install.sh and by the scripts of the package, which say below which root.
libexec=/usr/lib/qubes/admin
rpc=/etc/qubes-rpc
settings=/etc/qubes/rpc-config
# How far a switch went; there as long as qubesd is not in charge alone.
record=/etc/qubes/admin-switch/record.json
# Made by `systemctl enable`.
enabled=/etc/systemd/system/sockets.target.wants/qubes-admin-gateway.socket
tmpfiles=/usr/lib/tmpfiles.d/qubes-admin.conf

units=/usr/lib/systemd/system
# The unit that starts a qube. Where qubesd has one of that name, ours is led to by `qubes-admin switch to`.
starter=qubes-vm@.service

# Whether qubesd serves the calls: it is installed, and `qubes-admin switch to` has not ended.
is_qubesds() {
    has_qubesd && ! is_switched
}

has_qubesd() {
    [ -e "$root$units/qubesd.service" ]
}

is_switched() {
    grep -qs '"phase": "done"' "$root$record"
}

# Whether a switch in either direction was begun and did not end: the links are its own until then.
is_switching() {
    [ -e "$root$record" ] && ! is_switched
}

# Units of ours that are running end before their files go: sockets are closed, and qubes shut down.
stop_units() {
    ! runs_systemd || systemctl stop 'qubes-admin-*'
}

# Tells systemd which units there are. Whoever serves the sockets is to be the one that is installed.
reload_units() {
    runs_systemd || return 0
    systemctl daemon-reload
    [ ! -e "$units/qubes-admin-gateway.service" ] || systemctl try-restart qubes-admin-gateway.service
}

runs_systemd() {
    [ -z "$root" ] && [ -d /run/systemd/system ]
}

# Every call and the executable that serves it, one pair a line.
methods() {
    "$root/usr/bin/qubes-admin" methods
}

# The store's directories as lines of tmpfiles.d: type, path, mode, user, group.
directories() {
    grep -s '^d ' "$root$tmpfiles"
}

# In dom0 the state and the policy belong to the group that calls run as.
give_to_group() {
    if [ "$(id -u)" = 0 ] && getent group qubes >/dev/null; then
        chown -h root:qubes "$@"
    fi
}

prepare_state() {
    directories | while read -r _ path mode _; do
        mkdir -p "$root$path"
        give_to_group "$root$path"
        chmod "$mode" "$root$path"
    done
}

# keep_foreign PATH: keeps what another package had in a place.
keep_foreign() {
    if [ -e "$root$1" ] || [ -L "$root$1" ]; then
        mkdir -p "$root$libexec/replaced${1%/*}"
        cp -a "$root$1" "$root$libexec/replaced$1"
    fi
}

put_back() {
    if [ -d "$root$libexec/replaced" ]; then
        cp -a "$root$libexec/replaced/." "$root/"
        rm -r "$root$libexec/replaced"
    fi
}

# link PATH TARGET: one call's link, there at one instant. There are hundreds: most take one program.
link() {
    if ! [ -e "$root$1" ] && ! [ -L "$root$1" ]; then
        ln -s "$2" "$root$1"
    elif [ "$(readlink "$root$1")" != "$2" ]; then
        is_ours "$root$1" || keep_foreign "$1"
        ln -sfn "$2" "$root$1.new"
        mv -fT "$root$1.new" "$root$1"
    fi
}

is_ours() {
    case $(readlink "$1") in *"$libexec/"*) ;; *) return 1 ;; esac
}

# links [ACTION]: links of ours, one a line, in both places that have one for every call.
links() {
    find "$root$rpc" "$root$settings" -maxdepth 1 -type l -lname "*$libexec/*" "$@" 2>/dev/null
}

# Links to calls that are not served any more go.
make_links() {
    has_qubesd || link "$units/$starter" "../../../..$libexec/$starter"
    mkdir -p "$root$rpc" "$root$settings"
    served=$(methods)
    printf '%s\n' "$served" | while read -r method executable; do
        link "$rpc/$method" "../..$libexec/$executable"
        link "$settings/$method" "../../..$libexec/rpc-config"
    done
    names=$(printf '%s\n' "$served" | sed 's/ .*//; s/\./\\./g' | paste -sd '|')
    links | grep -vE "/($names)\$" | while read -r link; do rm "$link"; done
}

remove_links() {
    links -delete || true
    ! is_ours "$root$units/$starter" || rm "$root$units/$starter"
}
