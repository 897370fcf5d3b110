#!/bin/sh
# Builds the executables and installs them: into DESTDIR (dom0), or as a demonstration below any directory.
#   install.sh                      build and install below $DESTDIR
#   install.sh --check              compare what is installed below $DESTDIR with what should be there
#   install.sh --uninstall          remove what was installed below $DESTDIR; never the state
#   install.sh --demo DIR [--empty] everything below DIR, unprivileged, with some qubes (or an empty store)
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
dest=${DESTDIR:-}
libexec=/usr/lib/qubes/admin
rpc=/etc/qubes-rpc
minimum=1.89

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

# --- building ---------------------------------------------------------------------------------------------------

need_cargo() {
    command -v cargo >/dev/null 2>&1 || fail "cargo is missing; install Rust $minimum or newer"
    version=$(cargo --version | cut -d' ' -f2)
    oldest=$(printf '%s\n%s\n' "$minimum" "$version" | sort -V | head -n 1)
    [ "$oldest" = "$minimum" ] || fail "cargo $version is too old; Rust $minimum or newer is needed"
}

# Static executables start fastest; they need the musl target's library.
build() {
    need_cargo
    musl=x86_64-unknown-linux-musl
    if [ -d "$(rustc --print target-libdir --target "$musl" 2>/dev/null)" ]; then
        (cd "$here" && cargo build --release --locked --quiet -p services -p qubes-admin --target "$musl")
        built=$here/target/$musl/release
    else
        (cd "$here" && cargo build --release --locked --quiet -p services -p qubes-admin)
        built=${CARGO_TARGET_DIR:-$here/target}/release
    fi
}

# --- installing -------------------------------------------------------------------------------------------------

# Every call and the executable that serves it, one pair a line.
methods() {
    "$1" methods
}

install_files() {
    root=$1
    mkdir -p "$root$libexec" "$root$rpc" "$root/usr/bin" "$root/etc/qubes/policy.d/include"
    mkdir -p "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions"
    install -m 0755 "$built/qubes-admin" "$root/usr/bin/qubes-admin"
    "$built/qubes-admin" man >"$root/usr/share/man/man1/qubes-admin.1"
    "$built/qubes-admin" completions bash >"$root/usr/share/bash-completion/completions/qubes-admin"
    methods "$built/qubes-admin" | while read -r method executable; do
        [ -e "$root$libexec/$executable.new" ] || install -m 0755 "$built/$executable" "$root$libexec/$executable.new"
        ln -sfn "../../usr/lib/qubes/admin/$executable" "$root$rpc/$method"
    done
    for new in "$root$libexec"/*.new; do
        mv -f "$new" "${new%.new}"
    done
    for file in "$here"/rpc-config/policy.d/*.policy; do
        install -m 0664 "$file" "$root/etc/qubes/policy.d/"
    done
    for file in "$here"/rpc-config/policy.d/include/*; do
        target=$root/etc/qubes/policy.d/include/${file##*/}
        # The administrator's own rules stay.
        [ -e "$target" ] || install -m 0664 "$file" "$target"
    done
}

# State is shared by the members of the group, which is what calls run as.
prepare_state() {
    root=$1
    for directory in /var/lib/qubes/admin /var/lib/qubes/admin/qubes /var/lib/qubes/admin/journal \
        /run/qubes/admin /run/qubes/admin/locks /run/qubes/admin/domains /run/qubes/policy.d; do
        mkdir -p "$root$directory"
        if [ "$(id -u)" = 0 ] && getent group qubes >/dev/null 2>&1; then
            chown root:qubes "$root$directory"
        fi
        chmod 2770 "$root$directory"
    done
}

# --- checking and removing --------------------------------------------------------------------------------------

check() {
    tool=$dest/usr/bin/qubes-admin
    [ -x "$tool" ] || fail "$tool is missing"
    wrong=0
    pairs=$(methods "$tool")
    while read -r method executable; do
        link=$(readlink "$dest$rpc/$method" || true)
        if [ "$link" != "../../usr/lib/qubes/admin/$executable" ]; then
            echo "wrong or missing: $dest$rpc/$method" >&2
            wrong=1
        elif [ ! -x "$dest$libexec/$executable" ]; then
            echo "not executable: $dest$libexec/$executable" >&2
            wrong=1
        fi
    done <<PAIRS
$pairs
PAIRS
    for directory in /var/lib/qubes/admin /var/lib/qubes/admin/qubes /var/lib/qubes/admin/journal; do
        if [ "$(stat -c %a "$dest$directory" 2>/dev/null)" != 2770 ]; then
            echo "missing or not mode 2770: $dest$directory" >&2
            wrong=1
        fi
    done
    [ "$wrong" = 0 ] || exit 1
    echo "installed as it should be"
}

uninstall() {
    tool=$dest/usr/bin/qubes-admin
    [ -x "$tool" ] || fail "$tool is missing"
    methods "$tool" | while read -r method executable; do
        rm -f "$dest$rpc/$method" "$dest$libexec/$executable"
    done
    rmdir "$dest$libexec" 2>/dev/null || true
    rm -f "$tool" "$dest/usr/share/man/man1/qubes-admin.1" \
        "$dest/usr/share/bash-completion/completions/qubes-admin" "$dest/etc/qubes/policy.d/90-admin-default.policy" \
        "$dest/etc/qubes/policy.d/91-admin-default-deny.policy"
    echo "removed; the state in $dest/var/lib/qubes is untouched"
}

# --- demonstration ----------------------------------------------------------------------------------------------

demo() {
    dir=$1
    [ -n "$dir" ] || fail "--demo needs a directory"
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    [ ! -e "$dir/var/lib/qubes/admin/system.json" ] || fail "$dir has a store already"
    build
    install_files "$dir"
    prepare_state "$dir"
    kernel=$dir/var/lib/qubes/vm-kernels/6.12.59-1.fc37
    mkdir -p "$kernel"
    for file in vmlinuz initramfs modules.img; do
        echo "stands in for a real $file" >"$kernel/$file"
    done
    tool=$dir/usr/bin/qubes-admin
    if [ "${2:-}" != --empty ]; then
        "$tool" --root "$dir" init
        fill
    fi
    cat <<TEXT
Ready. Try:
  export QUBES_ADMIN_ROOT=$dir
  $tool call dom0 admin.vm.List </dev/null
  printf green | $tool call work admin.vm.property.Set+label
TEXT
}

call() {
    destination=$1
    method=$2
    payload=${3:-}
    printf '%s' "$payload" | "$tool" --root "$dir" call "$destination" "$method"
}

# A small system like the one a fresh installation has.
fill() {
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

case "${1:-}" in
--demo) demo "${2:-}" "${3:-}" ;;
--check) check ;;
--uninstall) uninstall ;;
"")
    build
    install_files "$dest"
    prepare_state "$dest"
    echo "installed below ${dest:-/}"
    ;;
*) fail "unknown option $1" ;;
esac
