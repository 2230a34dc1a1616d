#!/usr/bin/env bash
# A real boot: a Debian disk image with a kernel and GRUB of its own in QEMU, of which site.yml makes a box as for production, with
# CPUs, a disk and a network device of its own. The machine reboots by itself, the doctor must then find everything that the profile
# `production` requires and did not find before, and the node, which does not start without, is up; again after another reboot.
#
#   tests/boot.sh image    makes the image alone (target/boot/disk.img), or finds it made
#   tests/boot.sh          makes it if need be, and runs everything; IRONBELL_SKIP_BOOT=1 leaves it out, and says so
#
# IRONBELL_SUITE=trixie boots Debian 13, whatever this machine is; without it the machine is as this one.
#
# As root, for mmdebstrap. Emulated (TCG) where /dev/kvm does not work: some minutes. Its last line says
# 'boot: N passed, N failed'.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/lib.sh

if [[ -n ${IRONBELL_SKIP_BOOT:-} ]]; then
    echo "boot: 0 passed, 0 failed, 1 skipped (IRONBELL_SKIP_BOOT)"
    exit 0
fi

what=${1:-all}
target=${CARGO_TARGET_DIR:-$PWD/target}
binary=${IRONBELL_BINARY:-$target/release/ironbell}
venv=$target/host-venv
work=$PWD/target/boot
port=22623 time_port=11123
members_mac=52:54:00:00:26:40
pid='' time_pid=''
# What is in the image: without a network of packages, a role finds what it installs.
packages=systemd-sysv,dbus,udev,kmod,openssh-server,python3,python3-apt,linux-image-cloud-amd64,initramfs-tools,grub-pc,iproute2,procps
packages+=,chrony,ethtool,nftables,numactl,smartmontools,parted,e2fsprogs,tzdata

need() {
    local missing=()
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
    command -v sfdisk >/dev/null || [[ -x /usr/sbin/sfdisk ]] || missing+=(fdisk)
    command -v mke2fs >/dev/null || [[ -x /usr/sbin/mke2fs ]] || missing+=(e2fsprogs)
    command -v ssh >/dev/null || missing+=(openssh-client)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
    if ((EUID != 0)); then
        echo "boot: run it as root${missing[*]:+; missing: ${missing[*]}}" >&2
        exit 1
    fi
    bring "${missing[@]}"
    if [[ ! -x $binary ]]; then
        echo "boot: there is no $binary; run \`make release\` first" >&2
        exit 1
    fi
    export PATH=$PATH:/usr/sbin
}

# --- the machine

ssh_options=(-i "$work/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o ConnectTimeout=20
    -o ServerAliveInterval=5 -o ServerAliveCountMax=3)

in_machine() {
    ssh -q "${ssh_options[@]}" -p "$port" root@127.0.0.1 "$@"
}

boot_id() {
    in_machine cat /proc/sys/kernel/random/boot_id
}

# start_machine IMAGE [OPTION…]: with the disks that were made beside the image.
start_machine() {
    local accel=(-accel 'tcg,thread=multi' -cpu max) disks=() disk
    # The device may be there and be of no use: only a machine that runs tells.
    if [[ -w /dev/kvm ]] && timeout 10 qemu-system-x86_64 -accel kvm -cpu host -M none -display none -monitor stdio <<<quit >/dev/null 2>&1; then
        accel=(-accel kvm -cpu host)
    fi
    for disk in journal other; do
        [[ ! -e $work/$disk.img ]] || disks+=(-drive "file=$work/$disk.img,if=none,id=$disk,format=raw,cache=unsafe"
            -device "virtio-blk-pci,drive=$disk,serial=$disk")
    done
    # The members' network device stands alone on a network of its own.
    qemu-system-x86_64 "${accel[@]}" -smp 3 -m 2048 -display none -no-user-config \
        -drive "file=$1,if=none,id=system,format=raw,cache=unsafe" -device virtio-blk-pci,drive=system,serial=system,bootindex=1 \
        -nic "user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:$port-:22" \
        -netdev hubport,id=members,hubid=1 -device "virtio-net-pci,netdev=members,mac=$members_mac,rx_queue_size=1024" \
        "${disks[@]}" -serial "file:$work/console.log" "${@:2}" >"$work/qemu.log" 2>&1 &
    pid=$!
    answers
}

answers() {
    local seconds
    for ((seconds = 0; seconds < 240; seconds++)); do
        in_machine true 2>/dev/null && return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 1
    done
    echo "boot: the machine did not come up; see $work/console.log and $work/qemu.log" >&2
    return 1
}

stop_machine() {
    if [[ -n $time_pid ]]; then
        kill "$time_pid" 2>/dev/null || true
        wait "$time_pid" 2>/dev/null || true
        time_pid=
    fi
    [[ -n $pid ]] || return 0
    in_machine systemctl poweroff 2>/dev/null || true
    for _ in $(seq 60); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 1
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    pid=
}

make_image() {
    local root kernel initrd
    # Of the packages that are named here.
    [[ -e $work/disk.img && $(cat "$work/packages" 2>/dev/null) == "$suite $packages" ]] && return 0
    mkdir -p "$work"
    root=$work/root
    rm -rf "$root" "$work"/key* "$work"/*.img
    ssh-keygen -q -t ed25519 -N '' -f "$work/key"
    mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$root"
    install -d -m 700 "$root$(awk -F: '$1 == "root" {print $6}' "$root/etc/passwd")/.ssh"
    install -m 600 "$work/key.pub" "$root$(awk -F: '$1 == "root" {print $6}' "$root/etc/passwd")/.ssh/authorized_keys"
    echo 'boot-1' >"$root/etc/hostname"
    echo 'LABEL=system / ext4 defaults 0 1' >"$root/etc/fstab"
    printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/10-dhcp.network"
    # Without a serial terminal GRUB waits for a keyboard that is not there.
    mkdir -p "$root/etc/default/grub.d"
    printf 'GRUB_TIMEOUT=0\nGRUB_TERMINAL=serial\nGRUB_CMDLINE_LINUX="console=ttyS0"\nGRUB_CMDLINE_LINUX_DEFAULT=""\n' \
        >"$root/etc/default/grub.d/10-serial.cfg"
    systemctl --quiet --root="$root" enable systemd-networkd.service ssh.service
    systemctl --quiet --root="$root" mask systemd-networkd-wait-online.service
    kernel=$(echo "$root"/boot/vmlinuz-*) initrd=$(echo "$root"/boot/initrd.img-*)
    cp "$kernel" "$work/vmlinuz"
    cp "$initrd" "$work/initrd"
    truncate -s 3G "$work/new.img"
    sfdisk --quiet "$work/new.img" <<<'start=2048, type=83, bootable'
    mke2fs -q -t ext4 -L system -E offset=$((2048 * 512)) -d "$root" "$work/new.img" $(((3 * 1024 * 1024 * 1024 - 2048 * 512) / 4096))
    rm -rf "$root"
    # GRUB is installed by the machine itself, which for once is given its kernel.
    start_machine "$work/new.img" -kernel "$work/vmlinuz" -initrd "$work/initrd" -append 'root=LABEL=system console=ttyS0'
    in_machine 'grub-install /dev/disk/by-id/virtio-system && update-grub' >"$work/grub.log" 2>&1 || {
        cat "$work/grub.log" >&2
        stop_machine
        return 1
    }
    stop_machine
    mv "$work/new.img" "$work/disk.img"
    echo "$suite $packages" >"$work/packages"
}

make_disks() {
    rm -f "$work/journal.img" "$work/other.img"
    truncate -s 1G "$work/journal.img"
    truncate -s 64M "$work/other.img"
    mke2fs -q -t ext4 -L somebodys "$work/other.img"
}

# --- what must hold

# doctor [OPTION…]: with the limits of the node's unit.
doctor() {
    in_machine systemd-run --quiet --pipe --wait --collect --property=LimitMEMLOCK=infinity --property=LimitNOFILE=1048576 \
        /usr/local/bin/ironbell tune doctor --json --profile production "$@" || true
}

# What does not hold, a line each: `unmet FILE`.
unmet() {
    python3 - "$1" <<'PYTHON'
import json, sys
for finding in json.load(open(sys.argv[1]))["findings"]:
    if finding["verdict"] in ("warn", "fail"):
        print(finding["verdict"], finding["id"], "-", finding["found"])
PYTHON
}

brings_the_program() {
    in_machine 'cat >/usr/local/bin/ironbell && chmod 755 /usr/local/bin/ironbell' <"$binary" &&
        # As fresh as the packages: nothing is asked of a network.
        in_machine touch /var/lib/apt/lists
}

unfit_before() {
    local item
    doctor --cpus 1-2 --nic "$nic" >"$work/before.json"
    unmet "$work/before.json" | tee "$work/before"
    for item in cpus-isolated cpus-nohz-full interrupts-default swappiness rt-throttling timer-migration clock-offset; do
        grep -q "^fail $item " "$work/before" || return 1
    done
}

play() {
    (cd ansible && ANSIBLE_NOCOLOR=1 ansible-playbook --inventory ../tests/boot/inventory.yml --private-key "$work/key" \
        --ssh-common-args "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null" \
        --extra-vars "ansible_port=$port nic_device=$nic boot_time_port=$time_port ironbell_binary=$binary" "$@")
}

# refuses DISK WHAT: and the disk is what it was.
refuses() {
    local before
    before=$(in_machine "head -c 1048576 /dev/disk/by-id/virtio-$1 | sha256sum")
    ! play ../tests/boot/disk.yml --extra-vars "journal_disk_device=/dev/disk/by-id/virtio-$1" >"$work/refused.log" 2>&1 &&
        grep "$2" "$work/refused.log" && [[ $(in_machine "head -c 1048576 /dev/disk/by-id/virtio-$1 | sha256sum") == "$before" ]]
}

site_makes_a_production_box() {
    local before started=$SECONDS
    before=$(boot_id)
    play playbooks/site.yml >"$work/site.log" 2>&1 || {
        tail -n 60 "$work/site.log"
        return 1
    }
    echo "boot: from an empty machine to a node of the profile production in $((SECONDS - started)) s"
    echo "the kernel was started anew with: $(in_machine cat /proc/cmdline)"
    [[ $before != "$(boot_id)" ]]
}

unchanged() {
    local out
    out=$(play playbooks/site.yml "$@") || {
        echo "$out" | tail -n 60
        return 1
    }
    grep -B 3 '^changed:' <<<"$out" >&2 || true
    grep -E '^boot-1 +: ' <<<"$out" | tee -a /dev/stderr | grep -q 'changed=0 .*failed=0'
}

fit() {
    doctor --config /etc/ironbell/node.toml >"$work/$1.json"
    unmet "$work/$1.json" | tee "$work/$1"
    [[ -s $work/$1.json ]] && ! grep -q '^fail ' "$work/$1"
}

# differs WHAT FOUND PATTERN: and says so.
differs() {
    # shellcheck disable=SC2053
    [[ $2 == $3 ]] && return 1
    echo "$1: found '$2', not '$3'"
}

kernel_says_so() {
    local different=0 cpu=/sys/devices/system/cpu queue=/sys/block/vdb/queue
    differs "isolated CPUs" "$(in_machine cat $cpu/isolated)" 1-2 && different=1
    differs "CPUs without a tick" "$(in_machine cat $cpu/nohz_full)" 1-2 && different=1
    differs "command line" "$(in_machine cat /proc/cmdline)" '*rcu_nocbs=1-2*' && different=1
    # A mask, in hexadecimal: CPU 0 alone.
    differs "CPUs of new interrupts" "$(in_machine cat /proc/irq/default_smp_affinity)" '*1' && different=1
    # The second disk.
    differs "journal's disk" "$(in_machine findmnt --noheadings --output SOURCE,FSTYPE,OPTIONS /var/lib/ironbell)" \
        '/dev/vdb1*ext4*noatime*' && different=1
    differs "its queue" "$(in_machine cat $queue/nomerges $queue/rq_affinity | xargs)" '2 2' && different=1
    return $different
}

node_is_up() {
    local main
    for _ in $(seq 240); do
        in_machine systemctl is-active --quiet ironbell.service && break
        sleep 1
    done
    main=$(in_machine systemctl show -P MainPID ironbell.service)
    in_machine "grep -E '^Max locked memory +unlimited +unlimited' /proc/$main/limits && grep -E '^Max open files +1048576' /proc/$main/limits" &&
        in_machine "grep -q '^CapEff:.0000000000000000' /proc/$main/status" &&
        # Its order path is on the CPUs that the scheduler leaves alone.
        [[ $(in_machine "grep -h '^Cpus_allowed_list:' /proc/$main/task/*/status | cut -f 2 | grep -x '[12]' | sort -u | xargs") == '1 2' ]] &&
        in_machine runuser -u ironbell -- /usr/local/bin/ironbell status --config /etc/ironbell/node.toml
}

reboots() {
    local before
    before=$(boot_id)
    in_machine systemctl reboot || true
    for _ in $(seq 60); do
        [[ $(boot_id 2>/dev/null) != "$before" ]] && break
        sleep 1
    done
    answers && [[ $(boot_id) != "$before" ]]
}

# It waits for a minute, says which item does not hold, and is not started again and again.
node_refuses_a_host_that_is_not_fit() {
    in_machine 'sysctl -q -w vm.swappiness=60 && systemctl restart ironbell.service' && return 1
    in_machine 'systemctl is-failed --quiet ironbell.service && journalctl -b -u ironbell -o cat' | grep 'does not meet it: swappiness (60)' &&
        in_machine 'sysctl -q -w vm.swappiness=0 && systemctl restart ironbell.service'
}

need
check "a disk image with a kernel and GRUB" make_image
if [[ $what == image ]] || ((failed > 0)); then
    echo "boot: $passed passed, $failed failed"
    exit $((failed > 0))
fi

environment "$venv" tests/requirements-host.txt
export PATH=$venv/bin:$PATH

trap stop_machine EXIT
cp --sparse=always "$work/disk.img" "$work/run.img"
make_disks
python3 tests/boot/time_server.py "$time_port" &
time_pid=$!
check "it boots by GRUB" start_machine "$work/run.img"
if ((failed == 0)); then
    nic=$(in_machine "grep -l $members_mac /sys/class/net/*/address" | cut -d / -f 5)
    check "it is given the program" brings_the_program
    check "before, the doctor finds what is not as production requires" unfit_before
    check "the system's disk is refused" refuses system "is the system's disk"
    check "a disk that holds something is refused" refuses other 'is no empty disk'
    check "site.yml makes a box for production of it, and reboots it" site_makes_a_production_box
    check "after, the doctor finds everything that is required" fit after
    check "and so does who looks by himself" kernel_says_so
    check "the node is up, with its limits and no capability" node_is_up
    check "it reboots once more" reboots
    check "the node comes up by itself" node_is_up
    check "everything that is required holds again" fit again
    check "a node does not start on a host that is not fit" node_refuses_a_host_that_is_not_fit
    check "a second play changes nothing" unchanged
    check "check mode says so too" unchanged --check
fi
stop_machine
rm -f "$work/run.img" "$work/journal.img" "$work/other.img"
echo "boot: $passed passed, $failed failed"
((failed == 0))
