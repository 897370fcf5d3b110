# Sourced by dom0's init and by every scenario: telling results, waiting, and making places for storage.

export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export SOURCE=/usr/src/qubes-admin
export DM_DISABLE_UDEV=1 # nobody else makes the devices' files; init says the same to LVM
for folder in /usr/lib/xen-*/bin; do PATH=$folder:$PATH; done

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

# wait_until SECONDS COMMAND [ARGUMENT...]: tries until it succeeds. The one processor is left to what is waited for
# between, which a process for each pause would not do: a read from a pipe that nobody writes to.
wait_until() {
    local end=$((SECONDS + $1)) silent=/run/silent
    shift
    [ -p $silent ] || mkfifo $silent
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "waited in vain for: $*"; return 1; }
        read -rt 0.3 <>$silent || true
    done
}

# --- this project ------------------------------------------------------------------------------------------------

# The qubes' directories, as Qubes' own packages have them, and the store's, as systemd-tmpfiles makes them at boot.
make_directories() {
    install -d -m 2775 -o root -g qubes /run/qubes
    install -d -m 2770 -o root -g qubes /var/lib/qubes /var/lib/qubes/{appvms,vm-templates,vm-kernels}
    awk '/^d / { paths[$3 " " $4 " " $5] = paths[$3 " " $4 " " $5] " " $2 }
        END { for (kind in paths) print kind paths[kind] }' /usr/lib/tmpfiles.d/qubes-admin.conf |
        while read -r mode user group paths; do
            # shellcheck disable=SC2086 # several paths
            install -d -m "$mode" -o "$user" -g "$group" $paths
        done
}

# fresh_store [QUBES_XML]: an empty store, or one with a recorded system's qubes, at `/`.
fresh_store() {
    rm -rf /var/lib/qubes/admin /run/qubes/admin /var/lib/qubes/appvms /var/lib/qubes/vm-templates
    make_directories
    if [ $# = 0 ]; then
        qubes-admin init
    else
        sed 's,@BASE@,/var/lib/qubes,' "$1" >/tmp/qubes.xml && qubes-admin import /tmp/qubes.xml
    fi
}

# as_user COMMAND [ARGUMENT...]: as qrexec runs things in dom0.
as_user() {
    (cd / && exec setpriv --reuid user --regid "$(id -g user)" --init-groups env HOME=/home/user "$@")
}

# call DESTINATION METHOD[+ARGUMENT] [PAYLOAD]: a call by root. Prints the content, or what was refused.
call() {
    printf '%s' "${3:-}" | qubes-admin call "$1" "$2" 2>&1
}

# converse CALLER METHOD[+ARGUMENT] DESTINATION: a call as qrexec makes it, joined with standard input and output.
converse() {
    local method=${2%%+*} argument=
    [ "$2" = "$method" ] || argument=${2#*+}
    (umask 0077 && as_user env QREXEC_REMOTE_DOMAIN="$1" QREXEC_REQUESTED_TARGET_TYPE=name \
        QREXEC_REQUESTED_TARGET="$3" QREXEC_SERVICE_ARGUMENT="$argument" "/etc/qubes-rpc/$method" "$argument")
}

# qrexec CALLER METHOD[+ARGUMENT] DESTINATION: the same, payload on standard input. Prints the frame's content and tells by
# the exit status whether it was an OK frame.
qrexec() {
    local reply
    reply=$(converse "$@" | tr '\0' '|')
    echo "${reply#*|}"
    [ "${reply%%|*}" = 0 ]
}

# ask SOCKET METHOD+[ARGUMENT] DESTINATION [PAYLOAD]: a call of dom0's tools, at a socket in /run. Prints the answer, with | for
# each NUL.
ask() {
    # shellcheck disable=SC2016 # the program's own variables
    as_user perl -MSocket -e '
        my ($name, $call, $destination, $payload) = @ARGV;
        socket(my $socket, PF_UNIX, SOCK_STREAM, 0);
        connect($socket, pack_sockaddr_un("/run/$name.sock")) or die "$name: $!\n";
        syswrite $socket, "$call dom0 name $destination\0" . ($payload // "");
        shutdown $socket, 1;
        print <$socket>' "$@" 2>&1 | tr '\0' '|'
}

# take_out: has install.sh remove the project, and the state after it. What it is made of is kept, to be put in again.
take_out() {
    if [ ! -d /root/built ]; then
        mkdir /root/built
        find /usr/lib/qubes/admin /usr/bin/qubes-admin -type f -perm /1 -exec cp -t /root/built {} +
        ln -s /bin/busybox /usr/local/bin/gzip
    fi
    "$SOURCE/install.sh" --uninstall && rm -rf /var/lib/qubes/admin /var/lib/qubes/{appvms,vm-templates}/* /run/qubes/admin
}

put_in() {
    "$SOURCE/install.sh" --built /root/built 2>&1
}

# --- storage -----------------------------------------------------------------------------------------------------

# take_disk NAME MIB: a new part of the scratch disk, as /dev/mapper/NAME. It reads as zeroes. The first part begins behind
# the disk's head, so that nobody takes the whole for what is in it.
take_disk() {
    local used=2048 sectors=$(($2 * 2048))
    modprobe dm-mod
    [ ! -e /run/scratch-used ] || used=$(cat /run/scratch-used)
    dmsetup create "$1" --table "0 $sectors linear /dev/vdc $used" || return
    echo $((used + sectors)) >/run/scratch-used
}

# sectors DEVICE: its size in sectors of 512 bytes.
sectors() {
    blockdev --getsz "$1"
}

# make_filesystem KIND DEVICE FOLDER [OPTION...]: makes an ext4, xfs or btrfs and mounts it.
make_filesystem() {
    local kind=$1 device=$2 folder=$3
    shift 3
    modprobe "$kind"
    "mkfs.$kind" -q "$@" "$device" && mkdir -p "$folder" && mount -t "$kind" "$device" "$folder"
}

# make_thin_pool GROUP POOL MIB: a volume group of its own with a thin pool that fills most of it.
make_thin_pool() {
    modprobe dm-thin-pool
    take_disk "$1-disk" "$3" &&
        vgcreate -qq "$1" "/dev/mapper/$1-disk" &&
        lvcreate -qq --type thin-pool --extents 80%FREE --name "$2" "$1"
}

# letters LETTER BYTES
letters() {
    head -c "$2" /dev/zero | tr '\0' "$1"
}

# holds FILE LETTER BYTES: whether it begins with so many of the letter.
holds() {
    [ "$(head -c "$3" "$1" | tr -d "$2" | wc -c)" = 0 ] && [ "$(head -c "$3" "$1" | wc -c)" = "$3" ]
}

# import QUBE VOLUME LETTER BYTES: fills a volume with so many of the letter. Prints what was refused.
import() {
    { echo "$4" && letters "$3" "$4"; } | qubes-admin call "$1" "admin.vm.volume.ImportWithSize+$2" 2>&1
}

# --- domains -----------------------------------------------------------------------------------------------------

# prepare_domains: an empty store with two pools of real storage, and what qubes with domains need beside it.
prepare_domains() {
    modprobe -a loop xen-blkback dm-mod
    install -m 0755 "$SOURCE/tests/xen/dom0/qubes-block" /etc/xen/scripts/qubes-block
    [ -d /mnt/guests ] || make_guest_disks || return
    fresh_store &&
        call dom0 admin.pool.Add+file-reflink $'name=reflinks\ndir_path=/mnt/guests' &&
        call dom0 admin.pool.Add+lvm_thin $'name=thin\nvolume_group=guests\nthin_pool=pool' &&
        call dom0 admin.property.Set+default_kernel test
}

make_guest_disks() {
    take_disk guest-images 400 &&
        make_filesystem xfs /dev/mapper/guest-images /mnt/guests &&
        chgrp qubes /mnt/guests &&
        chmod 2770 /mnt/guests &&
        make_thin_pool guests pool 400
}

# make_qube NAME POOL PROPERTY=VALUE...: a small qube whose root volume begins with its name.
make_qube() {
    local name=$1 pool=$2 property
    call dom0 admin.vm.CreateInPool.StandaloneVM "name=$name label=red pool=$pool" &&
        printf '1048576\n%-1048576s' "$name " | qubes-admin call "$name" admin.vm.volume.ImportWithSize+root || return
    shift 2
    for property in memory=128 maxmem=0 vcpus=1 netvm= shutdown_timeout=600 "$@"; do
        call "$name" "admin.vm.property.Set+${property%%=*}" "${property#*=}" || return
    done
}

# has_said QUBE TEXT [TIMES]: whether its guests have said that since the last start, so often.
has_said() {
    local said line=$'\n'"guest: $2"$'\n' times=0
    said=$(<"/var/log/xen/console/guest-$1.log") || return
    said=$'\n'${said//$'\r'/}$'\n'
    while [[ $said == *"$line"* ]]; do
        said=$'\n'${said#*"$line"}
        times=$((times + 1))
    done
    [ "$times" -ge "${3:-1}" ]
}

# ready QUBE
ready() {
    wait_until 180 has_said "$1" "is ready"
}

# state_of QUBE: its power state, as the desktop user sees it.
state_of() {
    qrexec dom0 admin.vm.CurrentState "$1" </dev/null | sed 's/.*power_state=//'
}

# domains: name and number of each domain but dom0.
domains() {
    xl list | awk 'NR > 2 { print $1, $2 }'
}

# leftovers: whatever of runs there is: domains, devices, images that domains write to, processes, files.
leftovers() {
    domains
    losetup --noheadings --list
    find /mnt/guests -name '*-dirty.img'
    lvs --noheadings -o lv_name guests | grep -- '-snap *$'
    pgrep -a qubes-domain
    find /run/qubes/admin/{domains,watchers} -mindepth 1
}

has_no_leftovers() {
    [ -z "$(leftovers)" ]
}

# --- for init ----------------------------------------------------------------------------------------------------

# The scenarios to run, as on the kernel's command line: scenarios=FOLDER/NAME:FOLDER/NAME
scenarios() {
    sed -n 's/.*\<scenarios=\([^ ]*\).*/\1/p' /proc/cmdline | tr : '\n'
}

# run_scenario SCENARIO [PHASE]: one that does not end is ended. One that stops before its end has failed, whatever it
# reported.
run_scenario() {
    local start=$SECONDS status=0 script=$SOURCE/tests/xen/$1 scenario=${1##*/}${2:+/$2}
    report "begin $scenario"
    bash -n "$script" && scenario=$scenario script=$script phase=${2:-} timeout -k 10 900 bash -u -c '
        failed=0
        . "$SOURCE/tests/xen/dom0/lib.sh"
        . "$script"
        exit $((failed * 99))
    ' </dev/null || status=$?
    [ "$status" = 0 ] || tail -n 40 /var/log/xen/console/guest-*.log 2>/dev/null | tr -d '\r'
    case $status in 0 | 99) ;; *) report "FAILED $scenario: stopped with status $status" ;; esac
    report "end $scenario: after $((SECONDS - start)) s"
}

# run_phase PHASE: a part of those scenarios for which systemd is booted.
run_phase() {
    local booted
    for booted in $(scenarios | grep ^booted/); do run_scenario "$booted" "$1"; done
}

power_off() {
    report "power off"
    echo o >/proc/sysrq-trigger
    sleep infinity
}
