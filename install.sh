#!/bin/sh
# Builds the executables and installs them: into dom0, or as a demonstration below any directory.
#
#   install.sh                      build and install below $DESTDIR
#   install.sh --built DIR          install executables that were built before, or elsewhere, into DIR
#   install.sh --check              compare what is installed below $DESTDIR with what should be there
#   install.sh --uninstall          remove what was installed below $DESTDIR; never the state
#   install.sh --demo DIR [--empty] everything below DIR, unprivileged, and a session (or an empty store)
#   install.sh --deb                build, and make a Debian package of what would be installed
#   install.sh --vm [--local] [--uninstall]
#                                   not for dom0: the files for a qube's template, or in a qube below /usr/local
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
root=${DESTDIR:-}
. "$here/rpc-config/setup.sh"
manifest=$libexec/manifest
# Which target starts which unit.
wanted="sysinit.target/qubes-admin-boot.service multi-user.target/qubes-admin-qubes.service \
multi-user.target/qubes-admin-preload.service sleep.target/qubes-admin-sleep.service"
# What only executables of ours start.
internal="qubes-run qubes-backup qubes-backup-writer qubes-constraints admin-suspend admin-system-info admin-vm-auto-attach admin-vm-preload"
built=
domain=

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
}

# --- building ---------------------------------------------------------------------------------------------------

need_cargo() {
    minimum=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$here/Cargo.toml")
    advice="install Rust $minimum or newer, for example from https://rustup.rs"
    command -v cargo >/dev/null || fail "cargo is missing; $advice"
    version=$(cargo --version | cut -d ' ' -f 2)
    [ -n "$version" ] || fail "cargo does not run; $advice"
    oldest=$(printf '%s\n%s\n' "$minimum" "$version" | sort -V | head -n 1)
    [ "$oldest" = "$minimum" ] || fail "cargo $version is too old; $advice"
    command -v cc >/dev/null || fail "a C compiler is missing, which Rust links with; install gcc or clang"
}

# Static executables start fastest; they need the musl target's library. The one that talks to Xen is linked with the
# machine's own libxl, where its headers are installed.
build() {
    [ -z "$built" ] || return 0
    need_cargo
    musl=$(uname -m)-unknown-linux-musl
    target=${CARGO_TARGET_DIR:-target}
    case $target in /*) ;; *) target=$here/$target ;; esac
    echo "building; the first time takes some minutes" >&2
    domain=$target/release/qubes-domain
    if [ -d "$(rustc --print target-libdir --target "$musl" 2>/dev/null)" ]; then
        built=$target/$musl/release
        compile -p services -p qubes-admin -p backup --target "$musl"
        compile -p domain
    else
        built=$target/release
        compile -p services -p qubes-admin -p backup -p domain
    fi
}

compile() {
    (cd "$here" && cargo build --release --locked "$@")
}

# --- installing -------------------------------------------------------------------------------------------------

# want TARGET/UNIT: the link by which a target starts a unit.
want() {
    echo "$units/${1%/*}.wants/${1#*/}"
}

# place SOURCE PATH MODE: puts a file there as a whole.
place() {
    mkdir -p "$root${2%/*}"
    grep -qs " $2\$" "$root$manifest" || cmp -s "$1" "$root$2" || keep_foreign "$2"
    install -m "$3" "$1" "$root$2.new"
    mv -fT "$root$2.new" "$root$2"
    sum=$(sha256sum <"$1")
    echo "$3 ${sum%% *} $2" >>"$stage/manifest"
}

install_files() {
    stage=$(mktemp -d)
    trap 'rm -rf "$stage"' EXIT
    tool=$built/qubes-admin
    config=$here/rpc-config
    mkdir -p "$root/etc/qubes/policy.d/include"
    "$tool" methods >"$stage/methods"
    for executable in $(cut -d ' ' -f 2 "$stage/methods" | sort -u); do
        place "$built/$executable" "$libexec/$executable" 0755
    done
    place "$domain" "$libexec/qubes-domain" 0755
    for executable in $internal; do
        place "$built/$executable" "$libexec/$executable" 0755
    done
    place "$config/rpc-config/admin" "$libexec/rpc-config" 0644
    place "$config/setup.sh" "$libexec/setup.sh" 0644
    place "$config/tmpfiles.d/qubes-admin.conf" "$tmpfiles" 0644
    place "$config/sysctl.d/qubes-admin.conf" /usr/lib/sysctl.d/qubes-admin.conf 0644
    place "$config/logrotate.d/qubes-admin" /etc/logrotate.d/qubes-admin 0644
    place "$config/udev/90-qubes-admin-block.rules" /usr/lib/udev/rules.d/90-qubes-admin-block.rules 0644
    place "$config/systemd/$starter" "$libexec/$starter" 0644
    for unit in "$config"/systemd/*; do
        [ "${unit##*/}" = "$starter" ] || place "$unit" "$units/${unit##*/}" 0644
    done
    for link in $wanted; do
        mkdir -p "$root$units/${link%/*}.wants"
        ln -sfn "../${link#*/}" "$root$(want "$link")"
    done
    for policy in "$config"/policy.d/*.policy; do
        place "$policy" "/etc/qubes/policy.d/${policy##*/}" 0664
        give_to_group "$root/etc/qubes/policy.d/${policy##*/}"
    done
    # The administrator's own rules stay.
    for group in "$config"/policy.d/include/*; do
        include=$root/etc/qubes/policy.d/include/${group##*/}
        [ -e "$include" ] || install -m 0664 "$group" "$include"
        give_to_group "$include"
    done
    "$tool" man >"$stage/man"
    gzip -9n "$stage/man"
    place "$stage/man.gz" /usr/share/man/man1/qubes-admin.1.gz 0644
    "$tool" completions bash >"$stage/bash"
    place "$stage/bash" /usr/share/bash-completion/completions/qubes-admin 0644
    "$tool" completions zsh >"$stage/zsh"
    place "$stage/zsh" /usr/share/zsh/site-functions/_qubes-admin 0644
    "$tool" completions fish >"$stage/fish"
    place "$stage/fish" /usr/share/fish/vendor_completions.d/qubes-admin.fish 0644
    place "$tool" /usr/bin/qubes-admin 0755
    is_qubesds || make_links
    install -m 0644 "$stage/manifest" "$root$manifest"
}

install_system() {
    if [ -z "$root" ]; then
        [ "$(id -u)" = 0 ] || fail "installing below / needs root; set DESTDIR, or try --demo DIR"
        getent group qubes >/dev/null || fail "there is no group qubes here, so this is no dom0; try --demo DIR"
    fi
    ! is_switching || fail "a switch is unfinished; first end it: qubes-admin switch to, or qubes-admin switch back"
    build
    install_files
    prepare_state
    [ -n "$root" ] || sysctl -qp /usr/lib/sysctl.d/qubes-admin.conf
    reload_units
    next="qubes-admin import /var/lib/qubes/qubes.xml, or qubes-admin init"
    ! is_qubesds || next="qubes-admin switch to; until then qubesd serves all calls"
    echo "installed below ${root:-/}; next: $next"
}

# Makes a package of what would be installed. That goes away again, so that none is ever made of an old state.
package() {
    cargo deb --version >/dev/null 2>&1 || fail "cargo-deb is missing: cargo install cargo-deb --locked"
    build
    root=$here/target/package
    rm -rf "$root"
    install_files
    remove_links # its scripts make them
    (cd "$here" && cargo deb -p qubes-admin --no-build --no-strip)
    rm -rf "$root"
}

# --- checking and removing --------------------------------------------------------------------------------------

wrong() {
    echo "$*" >>"$stage/wrong"
}

# All of a kind is looked at by one program: hundreds take a minute on a slow machine.

# owned PATH MODE GROUP: what is to be so; in dom0 the owner and the group too.
owned() {
    [ -n "$root" ] && echo "$2 .$1" || echo "$2 root:$3 .$1"
}

# What is to be of which mode, one a line.
modes() {
    while read -r mode _ file; do
        case $file in /etc/qubes/policy.d/*) group=qubes ;; *) group=root ;; esac
        [ ! -e "$root$file" ] || owned "$file" "$mode" "$group"
    done <"$root$manifest"
    directories | while read -r _ path mode _; do
        owned "$path" "$mode" qubes
    done
}

check_modes() {
    form='%04a %n'
    [ -n "$root" ] || form='%04a %U:%G %n'
    modes >"$stage/modes"
    (cd "$root/" && sed 's/.* //' "$stage/modes" | xargs stat -c "$form" 2>/dev/null) >"$stage/found" || true
    grep -vxF -f "$stage/found" "$stage/modes" | while read -r mode rest; do
        case $rest in *' '*) mode="$mode and ${rest% *}" ;; esac
        wrong "missing or not of mode $mode: $root/${rest#*./}"
    done
}

check_contents() {
    while read -r _ sum file; do
        [ -e "$root$file" ] && echo "$sum  .$file" || wrong "missing: $root$file"
    done <"$root$manifest" >"$stage/sums"
    (cd "$root/" && LC_ALL=C sha256sum --check "$stage/sums" 2>/dev/null) | sed -n 's/^\.\(.*\): FAILED.*/\1/p' |
        while read -r file; do wrong "not as installed: $root$file"; done
}

# One that was built elsewhere may need another version of Xen's libraries.
check_libraries() {
    ldd "$root$1" 2>/dev/null | sed -n 's/^[[:space:]]*\([^ ]*\) => not found$/\1/p' | while read -r library; do
        wrong "needs $library, which is not here: $root$1"
    done
}

check_methods() {
    sed "s, , ../..$libexec/," "$stage/methods" >"$stage/links"
    find "$root$rpc" -maxdepth 1 -type l -printf '%f %l\n' >"$stage/found"
    grep -vxF -f "$stage/found" "$stage/links" | while read -r method _; do
        wrong "missing or not our link: $root$rpc/$method"
    done
    has_qubesd || is_ours "$root$units/$starter" || wrong "missing or not our link: $root$units/$starter"
    links | awk -F / 'NR == FNR { split($0, pair, " "); served[pair[1]]; next } !($NF in served)' "$stage/methods" - |
        while read -r link; do wrong "serves nothing any more: $link"; done
}

check() {
    stage=$(mktemp -d)
    trap 'rm -rf "$stage"' EXIT
    [ -e "$root$manifest" ] || fail "nothing is installed below ${root:-/}"
    check_contents
    check_modes
    if methods >"$stage/methods" 2>/dev/null; then
        is_qubesds || check_methods
    else
        wrong "does not run: $root/usr/bin/qubes-admin"
    fi
    check_libraries "$libexec/qubes-domain"
    for link in $wanted; do
        [ -e "$root$(want "$link")" ] || wrong "not started at boot: $root$units/${link#*/}"
    done
    if [ -e "$stage/wrong" ]; then
        cat "$stage/wrong" >&2
        fail "$(wc -l <"$stage/wrong") differences; install.sh mends them"
    fi
    echo "installed as it should be"
}

uninstall() {
    [ -e "$root$manifest" ] || fail "nothing is installed below ${root:-/}"
    [ ! -e "$root$record" ] || fail "qubesd is not in charge alone; first: qubes-admin switch back"
    stop_units
    remove_links
    for link in $wanted; do rm -f "$root$(want "$link")"; done
    rm -f "$root$enabled"
    # An include file without rules of the administrator goes too.
    for group in "$here"/rpc-config/policy.d/include/*; do
        include=$root/etc/qubes/policy.d/include/${group##*/}
        if cmp -s "$group" "$include"; then rm "$include"; fi
    done
    remove_placed
    reload_units
    echo "removed; the state in $root/var/lib/qubes is untouched"
}

# Removes what was placed, and puts back what was there.
remove_placed() {
    while read -r _ _ file; do rm -f "$root$file"; done <"$root$manifest"
    rm "$root$manifest"
    put_back
    rmdir "$root$libexec"
}

# --- files for qubes --------------------------------------------------------------------------------------------

# in_qube PREFIX [--uninstall]: below "" as in a template, or below /usr/local, which an app qube keeps.
in_qube() {
    libexec=${1:-/usr}/lib/qubes/admin-vm
    manifest=$libexec/manifest
    if [ -z "$root" ]; then
        [ "$(id -u)" = 0 ] || fail "installing below / needs root; or set DESTDIR"
        [ ! -e /etc/qubes-release ] || fail "this is dom0; these files are for qubes"
    fi
    case ${2:-} in
    --uninstall)
        [ -e "$root$manifest" ] || fail "nothing is installed below ${root:-/}"
        remove_placed
        echo "removed"
        ;;
    *)
        place_in_qube "$1"
        echo "installed below ${root:-/}"
        ;;
    esac
}

place_in_qube() {
    stage=$(mktemp -d)
    trap 'rm -rf "$stage"' EXIT
    files=$here/rpc-config/vm
    mkdir -p "$root$libexec"
    place "$files/qubes.StartApp" "$1/etc/qubes-rpc/qubes.StartApp" 0755
    place "$files/qubes.StartApp.config" "$1/etc/qubes/rpc-config/qubes.StartApp" 0644
    place "$files/qubes-launchers" "${1:-/usr}/bin/qubes-launchers" 0755
    install -m 0644 "$stage/manifest" "$root$manifest"
}

# --- demonstration ----------------------------------------------------------------------------------------------

demo() {
    mkdir -p "$1"
    root=$(cd "$1" && pwd)
    [ ! -e "$root/var/lib/qubes/admin/system.json" ] || fail "$root has a store already; remove it, or choose another"
    build
    install_files
    prepare_state
    kernel=$root/var/lib/qubes/vm-kernels/6.12.59-1.fc37
    mkdir -p "$root/run/qubes/policy.d" "$kernel"
    for file in vmlinuz initramfs modules.img; do
        echo "stands in for a real $file" >"$kernel/$file"
    done
    export QUBES_ADMIN_ROOT="$root" PATH="$root/usr/bin:$PATH"
    unset SUDO_UID
    if [ "$2" = filled ]; then
        fill
        session
    fi
    quoted="'$(printf '%s' "$root" | sed "s/'/'\\\\''/g")'"
    cat <<TEXT

Go on like this:
  export QUBES_ADMIN_ROOT=$quoted PATH=$quoted/usr/bin:"\$PATH"
  source <(qubes-admin completions bash)
  qubes-admin --help
TEXT
}

# call DESTINATION METHOD [PAYLOAD]
call() {
    printf '%s' "${3:-}" | qubes-admin call "$1" "$2"
}

# A small system like the one a fresh installation has.
fill() {
    qubes-admin init >/dev/null
    call dom0 admin.property.Set+default_kernel 6.12.59-1.fc37
    call dom0 admin.vm.Create.TemplateVM "name=debian-12 label=black"
    call dom0 admin.property.Set+default_template debian-12
    for qube in sys-net:red sys-firewall:green work:blue personal:yellow vault:black default-dvm:red; do
        call dom0 admin.vm.Create.AppVM+debian-12 "name=${qube%:*} label=${qube#*:}"
    done
    call sys-net admin.vm.property.Set+provides_network True
    call sys-net admin.vm.property.Set+netvm
    call sys-firewall admin.vm.property.Set+provides_network True
    call sys-firewall admin.vm.property.Set+netvm sys-net
    call dom0 admin.property.Set+default_netvm sys-firewall
    call vault admin.vm.property.Set+netvm
    call default-dvm admin.vm.property.Set+template_for_dispvms True
    call dom0 admin.property.Set+default_dispvm default-dvm
}

session() {
    run 'qubes-admin status'
    run 'qubes-admin tree --net'
    run 'printf green | qubes-admin call work admin.vm.property.Set+label'
    run 'qubes-admin show work --changed'
    run 'printf vault | qubes-admin call work admin.vm.property.Set+netvm || echo "exit status $?"'
    run 'qubes-admin start work && qubes-admin status | grep running'
    run 'qubes-admin shutdown-all && qubes-admin status | grep running'
    run 'printf "admin.vm.property.Get+label work name work\0" | "$QUBES_ADMIN_ROOT/etc/qubes-rpc/admin.vm.property.Get" | tr "\0" " "; echo'
}

# Shows a command, then what it prints.
run() {
    printf '\n$ %s\n' "$1"
    sh -ec "$1" 2>&1
}

case "$*" in
"") install_system ;;
--built\ *)
    [ $# = 2 ] && [ -x "$2/qubes-admin" ] || fail "no executables in ${2:-}; build them with cargo build --release"
    built=$(cd "$2" && pwd)
    domain=$built/qubes-domain
    install_system
    ;;
--check) check ;;
--uninstall) uninstall ;;
--deb) package ;;
--vm | "--vm --uninstall") in_qube "" "${2:-}" ;;
"--vm --local" | "--vm --local --uninstall") in_qube /usr/local "${3:-}" ;;
-h | --help) usage ;;
--demo | "--demo --"*) fail "--demo needs a directory" ;;
--demo\ *)
    case $#/${3:-} in
    2/) demo "$2" filled ;;
    3/--empty) demo "$2" empty ;;
    *) usage >&2 && exit 2 ;;
    esac
    ;;
*) usage >&2 && exit 2 ;;
esac
