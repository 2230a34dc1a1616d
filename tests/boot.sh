#!/usr/bin/env bash
# A real boot: a Debian disk image with a kernel and GRUB of its own in QEMU, on which the role cpu_isolation is played. The
# machine reboots by itself, and what the kernel was told must then be in force, by `ironbell tune doctor`, which must have
# failed before; and a node under the package's unit must have come up with its limits. A second play changes nothing.
#
#   tests/boot.sh image    makes the image alone (target/boot/disk.img), or finds it made
#   tests/boot.sh          makes it if need be, and runs everything; IRONBELL_SKIP_BOOT=1 leaves it out, and says so
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
package=$PWD/engine/appliance/package
port=22623
# The image has three CPUs: one for the house, two for the order path.
housekeeping=0 order=1-2
pid=

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

ssh_options=(-i "$work/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o ConnectTimeout=5)

in_machine() {
    ssh -q "${ssh_options[@]}" -p "$port" root@127.0.0.1 "$@"
}

start_machine() {
    local accel=(-accel 'tcg,thread=multi' -cpu max)
    # The device may be there and be of no use: only a machine that runs tells.
    if [[ -w /dev/kvm ]] && timeout 10 qemu-system-x86_64 -accel kvm -cpu host -M none -display none -monitor stdio <<<quit >/dev/null 2>&1; then
        accel=(-accel kvm -cpu host)
    fi
    qemu-system-x86_64 "${accel[@]}" -smp 3 -m 2048 -display none -no-user-config \
        -drive "file=$1,if=virtio,format=raw,cache=unsafe" \
        -nic "user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:$port-:22" \
        -serial "file:$work/console.log" "${@:2}" >"$work/qemu.log" 2>&1 &
    pid=$!
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
    local suite root kernel initrd
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    [[ -e $work/disk.img ]] && return 0
    mkdir -p "$work"
    root=$work/root
    rm -rf "$root" "$work"/key*
    ssh-keygen -q -t ed25519 -N '' -f "$work/key"
    mmdebstrap --quiet --variant=minbase \
        --include=systemd-sysv,dbus,udev,kmod,openssh-server,python3,linux-image-cloud-amd64,initramfs-tools,grub-pc,iproute2,procps \
        "$suite" "$root"
    install -d -m 700 "$root$(awk -F: '$1 == "root" {print $6}' "$root/etc/passwd")/.ssh"
    install -m 600 "$work/key.pub" "$root$(awk -F: '$1 == "root" {print $6}' "$root/etc/passwd")/.ssh/authorized_keys"
    echo 'boot-1' >"$root/etc/hostname"
    echo '/dev/vda1 / ext4 defaults 0 1' >"$root/etc/fstab"
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
    mke2fs -q -t ext4 -E offset=$((2048 * 512)) -d "$root" "$work/new.img" $(((3 * 1024 * 1024 * 1024 - 2048 * 512) / 4096))
    rm -rf "$root"
    # GRUB is installed by the machine itself, which for once is given its kernel.
    start_machine "$work/new.img" -kernel "$work/vmlinuz" -initrd "$work/initrd" -append 'root=/dev/vda1 console=ttyS0'
    in_machine 'grub-install /dev/vda && update-grub' >"$work/grub.log" 2>&1 || {
        cat "$work/grub.log" >&2
        stop_machine
        return 1
    }
    stop_machine
    mv "$work/new.img" "$work/disk.img"
}

# --- what must hold

doctor() {
    in_machine systemd-run --quiet --pipe --wait --collect --property=LimitMEMLOCK=infinity --property=LimitNOFILE=1048576 \
        /usr/bin/ironbell tune doctor --json --profile production --config /etc/ironbell/node.toml || true
}

# Of some items the verdict, a line each: `verdicts FILE`.
verdicts() {
    python3 - "$1" <<'PYTHON'
import json, sys
wanted = ("cpus-isolated", "cpus-nohz-full", "cpus-ticks", "interrupts-default", "huge-pages-off", "watchdog", "skew-tick", "memlock", "open-files")
for finding in json.load(open(sys.argv[1]))["findings"]:
    if finding["id"] in wanted:
        print(finding["id"], finding["verdict"], "-", finding["found"])
PYTHON
}

install_node() {
    in_machine 'mkdir -p /etc/ironbell' &&
        in_machine 'cat >/usr/bin/ironbell && chmod 755 /usr/bin/ironbell' <"$binary" &&
        in_machine 'cat >/etc/systemd/system/ironbell.service' <"$package/ironbell.service" &&
        in_machine 'cat >/usr/lib/sysusers.d/ironbell.conf && systemd-sysusers' <"$package/ironbell.sysusers" &&
        in_machine 'cat >/usr/lib/tmpfiles.d/ironbell.conf' <"$package/ironbell.tmpfiles" &&
        in_machine 'cat >/etc/ironbell/node.toml' <<'TOML' &&
data_dir = "/var/lib/ironbell/data"
[journal]
segment_bytes = 16777216
[placement]
cpus = [1, 2]
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "IRON", decimals = 0 }]
instruments = [{ symbol = "IRON", base = "IRON", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "only-a-lab", firm = "ALFA", account = 1 }]
TOML
        in_machine 'systemd-tmpfiles --create && runuser -u ironbell -- ironbell format --config /etc/ironbell/node.toml &&
            systemctl enable --quiet ironbell.service'
}

isolate() {
    (cd ansible && ANSIBLE_NOCOLOR=1 ANSIBLE_ROLES_PATH=roles ansible-playbook ../tests/boot/isolate.yml --inventory boot-1, \
        --extra-vars "ansible_host=127.0.0.1 ansible_port=$port ansible_user=root ansible_ssh_private_key_file=$work/key" \
        --ssh-common-args "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null" \
        --extra-vars "cpu_isolation_order_cpus=$order cpu_isolation_housekeeping_cpus=$housekeeping")
}

reboots_by_itself() {
    local before after
    before=$(in_machine cat /proc/sys/kernel/random/boot_id)
    isolate >"$work/isolate.log" 2>&1 || {
        tail -n 30 "$work/isolate.log"
        return 1
    }
    after=$(in_machine cat /proc/sys/kernel/random/boot_id)
    echo "the kernel was started anew with: $(in_machine cat /proc/cmdline)"
    [[ $before != "$after" ]]
}

unchanged() {
    isolate | tee "$work/again.log" | grep -E '^boot-1 +: ' | grep -q 'changed=0 .*failed=0'
}

not_isolated_before() {
    doctor >"$work/before.json"
    verdicts "$work/before.json" | tee "$work/before"
    grep -q '^cpus-isolated fail' "$work/before" && grep -q '^cpus-nohz-full fail' "$work/before"
}

isolated_after() {
    doctor >"$work/after.json"
    verdicts "$work/after.json" | tee "$work/after"
    grep -q '^cpus-isolated pass' "$work/after" && grep -q '^cpus-nohz-full pass' "$work/after" && grep -q '^memlock pass' "$work/after"
}

kernel_says_so() {
    [[ $(in_machine cat /sys/devices/system/cpu/isolated) == "$order" ]] &&
        [[ $(in_machine cat /sys/devices/system/cpu/nohz_full) == "$order" ]] &&
        in_machine grep -q "rcu_nocbs=$order" /proc/cmdline &&
        # The mask of new interrupts, in hexadecimal: CPU 0 alone.
        [[ $(in_machine cat /proc/irq/default_smp_affinity) == *1 ]]
}

node_came_up() {
    local main
    for _ in $(seq 120); do
        in_machine systemctl is-active --quiet ironbell.service && break
        sleep 1
    done
    main=$(in_machine systemctl show -P MainPID ironbell.service)
    in_machine "grep -E '^Max locked memory +unlimited +unlimited' /proc/$main/limits && grep -E '^Max open files +1048576' /proc/$main/limits" &&
        in_machine "grep -q '^CapEff:.0000000000000000' /proc/$main/status" &&
        # Its order path is on the CPUs that the scheduler leaves alone.
        [[ $(in_machine "grep -h '^Cpus_allowed_list:' /proc/$main/task/*/status | cut -f 2 | grep -x '[12]' | sort -u | xargs") == '1 2' ]] &&
        in_machine runuser -u ironbell -- ironbell status --config /etc/ironbell/node.toml
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
check "it boots by GRUB" start_machine "$work/run.img"
if ((failed == 0)); then
    check "a node is installed with the package's unit" install_node
    check "before, the doctor says that no CPU is isolated" not_isolated_before
    check "the role cpu_isolation reboots the machine" reboots_by_itself
    check "after, the doctor says that they are, and that memory may be locked" isolated_after
    check "and so does the kernel" kernel_says_so
    check "the node came up by itself, with its limits and no capability" node_came_up
    check "a second play changes nothing" unchanged
fi
stop_machine
rm -f "$work/run.img"
echo "boot: $passed passed, $failed failed"
((failed == 0))
