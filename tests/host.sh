#!/usr/bin/env bash
# The host tier: playbooks and roles are linted, and the lab inventory is played on a machine that boots for the test.
#
#   tests/host.sh lint     yamllint, ansible-lint (production profile), the syntax of each playbook
#   tests/host.sh machine  a Debian machine in a container with an init of its own (systemd-nspawn): site.yml from empty, the
#                          node runs as a service, a second run changes nothing, verify passes and fails when it should
#   tests/host.sh pair     three of them on a network of their own: two nodes, three etcd members over TLS; rolling upgrade and
#                          failover drill with a member who trades, backup and restore, keys rotated, a node taken down
#
# IRONBELL_SUITE=trixie boots Debian 13, whatever this machine is; without it the machines are as this one.
#
# As root: it makes a Debian root with mmdebstrap (kept under target/), boots copies of it, and ends them again. While they run,
# this machine forwards its packets for 10.231.26.0/24, by which the packages come.
# Its last line says 'host: N passed, N failed'.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/lib.sh

what=${1:-all}
target=${CARGO_TARGET_DIR:-$PWD/target}
venv=$target/host-venv

need() {
    local missing=()
    command -v python3 >/dev/null || missing+=(python3 python3-venv)
    if [[ $what != lint ]]; then
        command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
        command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
        command -v ssh >/dev/null || missing+=(openssh-client)
        command -v openssl >/dev/null || missing+=(openssl)
        command -v ip >/dev/null || [[ -x /usr/sbin/ip ]] || missing+=(iproute2)
        command -v nft >/dev/null || [[ -x /usr/sbin/nft ]] || missing+=(nftables)
    fi
    if ((${#missing[@]})); then
        if ((EUID != 0)); then
            echo "host: missing: ${missing[*]}; install them as root" >&2
            exit 1
        fi
        bring "${missing[@]}"
    fi
    environment "$venv" tests/requirements-host.txt
    export PATH=$venv/bin:$PATH ANSIBLE_NOCOLOR=1 NO_COLOR=1
}

lint() {
    cd ansible
    check "yamllint" yamllint --strict .
    check "ansible-lint, production profile" ansible-lint -q
    for playbook in playbooks/*.yml; do
        check "syntax of $playbook" ansible-playbook --inventory inventories/lab/hosts.yml --syntax-check "$playbook"
    done
    cd ..
}

# --- the machines

bridge=ironbell0
network=10.231.26
declare -A pids=()

stop_machines() {
    local name
    # SIGTERM to nspawn is an orderly power-off of what it runs; a machine that does not end is killed.
    for name in "${!pids[@]}"; do kill -TERM "${pids[$name]}" 2>/dev/null || true; done
    for name in "${!pids[@]}"; do
        for _ in $(seq 100); do
            kill -0 "${pids[$name]}" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "${pids[$name]}" 2>/dev/null || true
        wait "${pids[$name]}" 2>/dev/null || true
        unset "pids[$name]"
    done
}

key_for_machines() {
    rm -f "$target"/host-key*
    ssh-keygen -q -t ed25519 -N '' -f "$target/host-key"
}

# make_root NAME: a machine that may be logged into at its address.
make_root() {
    local name=$1 root=$target/host-$1 tar=$target/host-root-$suite.tar
    [[ -e $tar ]] || mmdebstrap --quiet --variant=minbase \
        --include=systemd-sysv,dbus,openssh-server,python3,python3-apt,iproute2,procps,ca-certificates,util-linux \
        "$suite" "$tar"
    rm -rf "$root"
    mkdir -p "$root"
    tar -xf "$tar" -C "$root"
    # The lists of packages went with the making of the root, and are not as fresh as their folder.
    touch -d 2000-01-01 "$root/var/lib/apt/lists"
    # With a number of its own it is no first boot, which would enable whatever Debian enables.
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    local home
    home=$root$(awk -F: '$1 == "root" {print $6}' "$root/etc/passwd")
    install -d -m 700 "$home/.ssh"
    install -m 600 "$target/host-key.pub" "$home/.ssh/authorized_keys"
    echo 'PermitRootLogin prohibit-password' >"$root/etc/ssh/sshd_config.d/10-test.conf"
    cat >"$root/etc/systemd/system/address.service" <<EOF
[Unit]
Before=ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip link set host0 up && ip address add $(address_of "$name")/24 dev host0 && ip route add default via $network.1'
[Install]
WantedBy=multi-user.target
EOF
    systemctl --quiet --root="$root" mask ssh.socket systemd-networkd.service systemd-networkd.socket
    systemctl --quiet --root="$root" enable ssh.service address.service
    # Names are found as the tester finds them.
    rm -f "$root/etc/resolv.conf"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    [[ -d /etc/apt/apt.conf.d ]] && cp -L /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
}

# boot NAME: from empty.
boot() {
    local name=$1
    make_root "$name"
    systemd-nspawn --quiet --directory="$target/host-$name" --boot --register=no --keep-unit --resolv-conf=off \
        --network-bridge="$bridge" --machine="$name" >"$target/host-console-$name.log" 2>&1 &
    pids[$name]=$!
    for _ in $(seq 600); do
        on "$name" true 2>/dev/null && return 0
        kill -0 "${pids[$name]}" 2>/dev/null || break
        sleep 0.1
    done
    echo "host: the machine did not boot; see $target/host-console-$name.log" >&2
    return 1
}

ssh_options=(-i "$target/host-key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o ConnectTimeout=2)

ask_for_binary() {
    if ((EUID != 0)); then
        echo "host: a machine is booted by root only" >&2
        exit 1
    fi
    binary=${IRONBELL_BINARY:-$target/release/ironbell}
    if [[ ! -x $binary ]]; then
        echo "host: there is no $binary; run \`make release\` first" >&2
        exit 1
    fi
    # Of the same build.
    exporter=$(dirname "$binary")/ironbell-exporter
    if [[ ! -x $exporter ]]; then
        echo "host: there is no $exporter; run \`make release\` first" >&2
        exit 1
    fi
}

address_of() {
    echo "$network.1${1#lab-}"
}

on() {
    local name=$1
    shift
    ssh -q "${ssh_options[@]}" "root@$(address_of "$name")" "$@"
}

# The machines' network; packages come through this machine, which forwards while the test runs.
network_up() {
    forwarded=$(</proc/sys/net/ipv4/ip_forward)
    network_away
    ip link add "$bridge" type bridge
    ip address add "$network.1/24" dev "$bridge"
    ip link set "$bridge" up
    echo 1 >/proc/sys/net/ipv4/ip_forward
    nft -f - <<EOF
table ip ironbell_host_test {
    chain out {
        type nat hook postrouting priority srcnat;
        ip saddr $network.0/24 ip daddr != $network.0/24 masquerade
    }
}
EOF
}

network_away() {
    nft delete table ip ironbell_host_test 2>/dev/null || true
    ip link delete "$bridge" 2>/dev/null || true
}

end_machines() {
    stop_machines
    network_away
    [[ -z ${forwarded:-} ]] || echo "$forwarded" >/proc/sys/net/ipv4/ip_forward
}

play() {
    (cd ansible && ansible-playbook --inventory inventories/lab/hosts.yml \
        --extra-vars "ansible_host=$(address_of lab-1) ansible_user=root ansible_ssh_private_key_file=$target/host-key" \
        --ssh-common-args "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null" \
        --extra-vars "ironbell_binary=$binary" "$@")
}

site() {
    local started=$SECONDS
    play playbooks/site.yml || return 1
    echo "host: from an empty machine to a running node in $((SECONDS - started)) s"
}

unchanged() {
    local out
    out=$(play playbooks/site.yml "$@") || { echo "$out"; return 1; }
    grep -B 3 '^changed:' <<<"$out" >&2 || true
    grep -E '^lab-1 +: ' <<<"$out" | tee -a /dev/stderr | grep -q 'changed=0 .*failed=0'
}

runs_confined() {
    on lab-1 systemctl is-active --quiet ironbell.service &&
        on lab-1 "grep -q '^CapEff:.0000000000000000' /proc/\$(systemctl show -P MainPID ironbell)/status" &&
        on lab-1 "test \"\$(stat -c %U /proc/\$(systemctl show -P MainPID ironbell))\" = ironbell"
}

survives_a_restart() {
    local before after
    on lab-1 systemctl restart ironbell.service
    on lab-1 "journalctl -u ironbell -o cat" | grep -q 'stopped: drained, journal sealed' || return 1
    for _ in $(seq 100); do
        after=$(on lab-1 "runuser -u ironbell -- ironbell status --json --config /etc/ironbell/node.toml" 2>/dev/null) && break
        sleep 0.1
    done
    before=$(on lab-1 "runuser -u ironbell -- ironbell inspect ledger --config /etc/ironbell/node.toml")
    [[ -n $after ]] && grep -q USD <<<"$before"
}

backs_up() {
    on lab-1 systemctl start ironbell-archive.service && on lab-1 systemctl start ironbell-verify.service
}

verify_fails_on_what_is_not_so() {
    # A production profile asks for CPUs of its own, which this machine has none of.
    ! play playbooks/verify.yml --extra-vars verify_profile=production >"$target/host-verify.log" 2>&1 &&
        grep -q 'cpus-own' "$target/host-verify.log"
}

no_secret_is_told() {
    ! grep -rq 'only-a-lab' "$target/host-site.log" && on lab-1 "! grep -rqs only-a-lab /etc/ironbell /var/lib/ironbell"
}

machine() {
    ask_for_binary
    trap end_machines EXIT
    key_for_machines
    network_up
    check "the machine boots" boot lab-1
    ((failed == 0)) || return 0
    check "site.yml on an empty machine" site > >(tee "$target/host-site.log") 2>&1
    check "a second run changes nothing" unchanged
    check "check mode says so too" unchanged --check
    check "verify passes" play playbooks/verify.yml
    check "verify fails on what is not so" verify_fails_on_what_is_not_so
    check "the node runs as a user without capabilities" runs_confined
    check "the node is restarted in good order" survives_a_restart
    check "snapshot, archive and verification by their units" backs_up
    check "no password is told, or left on the machine" no_secret_is_told
    end_machines
}

# --- the pair

pair_names=(lab-1 lab-2 lab-3)

# A certificate for each machine, as server and as client.
make_certificates() {
    local folder=$target/host-certificates name
    rm -rf "$folder"
    install -d -m 700 "$folder"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=host test' \
        -keyout "$folder/ca.key" -out "$folder/ca.pem" 2>/dev/null
    for name in "${pair_names[@]}"; do
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
            -keyout "$folder/$name.key" -out "$folder/$name.csr" 2>/dev/null
        openssl x509 -req -in "$folder/$name.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -days 30 -out "$folder/$name.pem" \
            -extfile <(printf 'subjectAltName=IP:%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$(address_of "$name")") 2>/dev/null
    done
}

boot_pair() {
    local name
    for name in "${pair_names[@]}"; do boot "$name" || return 1; done
}

play_pair() {
    (cd ansible && ansible-playbook --inventory inventories/lab-pair/hosts.yml --extra-vars "ansible_user=root" \
        --private-key "$target/host-key" --ssh-common-args "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null" \
        --extra-vars "ironbell_binary=$binary monitoring_exporter_binary=$exporter lab_certificates=$target/host-certificates" "$@")
}

pair_from_empty() {
    local started=$SECONDS
    play_pair playbooks/site.yml >"$target/host-pair.log" 2>&1 || { tail -60 "$target/host-pair.log"; return 1; }
    tail -5 "$target/host-pair.log"
    echo "host: from three empty machines to a trading pair in $((SECONDS - started)) s"
}

pair_unchanged() {
    local out
    out=$(play_pair playbooks/site.yml "$@") || { echo "$out" | tail -60; return 1; }
    grep -B 3 '^changed:' <<<"$out" >&2 || true
    [[ $(grep -cE '^lab-[123] +: .*changed=0 .*failed=0' <<<"$out") == 3 ]]
}

status_of() {
    on "$1" "runuser -u ironbell -- ironbell status --json --config /etc/ironbell/node.toml"
}

# The node that leads, and is open.
primary() {
    local name
    for name in lab-1 lab-2; do
        if status_of "$name" 2>/dev/null | python3 -c 'import json, sys
pair = json.load(sys.stdin)["pair"]
sys.exit(0 if pair["standing"] == "primary" and pair["open"] else 1)'; then
            echo "$name"
            return 0
        fi
    done
    return 1
}

pair_members=("--username" ALFA01 "--symbol" IRON "$network.11:26400" "$network.12:26400")

# Two times: the first run makes of the old primary a standby, the second one makes it lead again.
pair_upgrades_while_a_member_trades() {
    local before member ok=0
    before=$(primary)
    rm -f "$target/host-end"
    DRILL_PASSWORD=only-a-lab python3 ansible/playbooks/files/drill-member.py --seconds 300 --until "$target/host-end" \
        "${pair_members[@]}" >"$target/host-member.json" 2>"$target/host-member.log" &
    member=$!
    play_pair playbooks/rolling-upgrade.yml >"$target/host-upgrade.log" 2>&1 || { tail -60 "$target/host-upgrade.log"; ok=1; }
    touch "$target/host-end"
    wait "$member" || ok=1
    cat "$target/host-member.json" "$target/host-member.log"
    [[ $ok == 0 && $(primary) != "$before" ]]
}

upgrade_ends_where_the_standby_is_not_there() {
    local first second
    first=$(primary)
    second=$([[ $first == lab-1 ]] && echo lab-2 || echo lab-1)
    on "$second" systemctl stop ironbell.service
    ! play_pair playbooks/rolling-upgrade.yml --extra-vars ironbell_in_sync_within_s=5 >"$target/host-refused.log" 2>&1 &&
        [[ $(primary) == "$first" ]]
    local ok=$?
    on "$second" systemctl start ironbell.service
    on "$first" "runuser -u ironbell -- ironbell status --json --config /etc/ironbell/node.toml" >/dev/null
    return $ok
}

pair_drill() {
    play_pair playbooks/failover-drill.yml --extra-vars "drill_member_username=ALFA01 drill_member_password=only-a-lab \
        drill_member_symbol=IRON" --extra-vars "{\"drill_member_addresses\": [\"$network.11:26400\", \"$network.12:26400\"]}" \
        >"$target/host-drill.log" 2>&1 || { tail -80 "$target/host-drill.log"; return 1; }
    grep -A 9 'Say what it saw' "$target/host-drill.log"
}

# Prometheus hears from every exporter, knows the venue's alerts, and none of those that would call somebody is on.
prometheus_hears() {
    on lab-3 python3 - <<'EOF'
import json, sys, time, urllib.request

def ask(path):
    return json.load(urllib.request.urlopen("http://127.0.0.1:9090/api/v1/" + path))["data"]

end = time.monotonic() + 120
while True:
    down = [t["scrapeUrl"] + " " + t["lastError"] for t in ask("targets")["activeTargets"] if t["health"] != "up"]
    up = {r["metric"]["instance"] for r in ask("query?query=ironbell_up%3D%3D1")["result"]}
    led = ask("query?query=sum(ironbell_ready)")["result"]
    if not down and len(up) == 2 and led and led[0]["value"][1] == "1":
        break
    if time.monotonic() > end:
        sys.exit(f"down: {down}, up: {up}, ready: {led}")
    time.sleep(1)
rules = [rule["name"] for group in ask("rules")["groups"] for rule in group["rules"]]
print("host: Prometheus hears", len(ask("targets")["activeTargets"]), "exporters and knows", len(rules), "rules")
sys.exit(0 if len(rules) > 20 else "too few rules")
EOF
}

checkpoints_are_signed_and_witnessed() {
    local checkpoint
    checkpoint=$(on lab-1 cat /var/lib/ironbell/data/signing/checkpoint) || return 1
    echo "$checkpoint"
    grep -q '^— venue.example/lab ' <<<"$checkpoint" && grep -q '^— lab-2.venue.example/witness ' <<<"$checkpoint"
}

# Beside the running node; the log then has two keys, and its key journal two changes more.
pair_rotates_keys() {
    play_pair playbooks/rotate-keys.yml --extra-vars rotate_keys_new=log-2 >"$target/host-rotate.log" 2>&1 ||
        { tail -40 "$target/host-rotate.log"; return 1; }
    on lab-1 "ironbell hsm journal show --journal /var/lib/ironbell-sign/keys --origin venue.example/lab" | tee -a /dev/stderr |
        grep -q '^entries     3$' && on lab-1 systemctl is-active --quiet ironbell-sign.service
}

# The one that follows; the other one goes on, and its member too.
pair_node_goes() {
    local first second
    first=$(primary)
    second=$([[ $first == lab-1 ]] && echo lab-2 || echo lab-1)
    # Whoever leads is refused.
    ! play_pair playbooks/decommission.yml --limit "$first" --extra-vars "decommission=$first" >"$target/host-decommission.log" 2>&1 ||
        return 1
    play_pair playbooks/decommission.yml --limit "$second" --extra-vars "decommission=$second decommission_erase=true" \
        >"$target/host-decommission.log" 2>&1 || { tail -40 "$target/host-decommission.log"; return 1; }
    [[ $(primary) == "$first" ]] && on "$second" '! test -e /var/lib/ironbell/data && ! test -e /etc/systemd/system/ironbell.service' &&
        on "$second" 'ls /var/backups/ironbell/full/*/hashes.json' &&
        DRILL_PASSWORD=only-a-lab python3 ansible/playbooks/files/drill-member.py --seconds 2 "${pair_members[@]}"
}

pair_tells_no_secret() {
    ! grep -q 'only-a-lab' "$target/host-pair.log" &&
        on lab-1 '! grep -rqs only-a-lab /etc/ironbell /etc/ironbell-sign /var/lib/ironbell-sign /var/lib/ironbell/data /run/ironbell-hsm'
}

# What a share would bring to another box, and nothing else of the venue.
backup_comes_back_on_a_fresh_box() {
    local from
    from=$(primary)
    # One after the other; the last one once segments are gone to the archive, if they are.
    on "$from" 'for job in archive full verify; do systemctl start ironbell-$job.service || exit 1; done' || return 1
    on "$from" tar -C /var/backups/ironbell -c . | on lab-3 'mkdir -p /var/backups/ironbell && tar -C /var/backups/ironbell -x'
    play_pair playbooks/backup-restore.yml --extra-vars "restore_box=lab-3 restore_of=$from" >"$target/host-restore.log" 2>&1 ||
        { tail -40 "$target/host-restore.log"; return 1; }
    grep 'is the venue up to' "$target/host-restore.log"
}

# The copy with one byte changed in the middle of its journal.
damage_in_a_backup_is_found() {
    on lab-3 'file=$(ls /var/backups/ironbell/full/*/data/journal/0000000001.segment | tail -1) &&
        printf x | dd of="$file" bs=1 seek=6000 conv=notrunc status=none'
    ! play_pair playbooks/backup-restore.yml --extra-vars "restore_box=lab-3 restore_of=$(primary)" >"$target/host-damaged.log" 2>&1
}

ready_by_notify() {
    local name
    for name in lab-1 lab-2; do
        [[ $(on "$name" systemctl show -p Type -p WatchdogUSec -p ActiveState -p NRestarts ironbell.service | sort | tr '\n' ' ') == \
            "ActiveState=active NRestarts=0 Type=notify WatchdogUSec=30s " ]] || { on "$name" systemctl status ironbell.service; return 1; }
    done
}

pair() {
    ask_for_binary
    trap end_machines EXIT
    key_for_machines
    make_certificates
    network_up
    check "three machines boot" boot_pair
    ((failed == 0)) || return 0
    check "check mode on empty machines" play_pair playbooks/site.yml --check
    check "site.yml makes a pair of empty machines" pair_from_empty
    ((failed == 0)) || return 0
    check "systemd was told that they are ready" ready_by_notify
    check "checkpoints are signed, and witnessed by the other node" checkpoints_are_signed_and_witnessed
    check "Prometheus hears from everybody" prometheus_hears
    check "no password or PIN is told, or left on the machines" pair_tells_no_secret
    check "a second run changes nothing" pair_unchanged
    check "check mode says so too" pair_unchanged --check
    check "verify passes" play_pair playbooks/verify.yml
    check "a rolling upgrade while a member trades" pair_upgrades_while_a_member_trades
    check "the primary is killed while a member trades" pair_drill
    check "an upgrade ends where the standby is not there" upgrade_ends_where_the_standby_is_not_there
    check "a backup comes back on a fresh box" backup_comes_back_on_a_fresh_box
    check "damage in a backup is found" damage_in_a_backup_is_found
    check "the key that signs is rotated" pair_rotates_keys
    check "a node goes for good, and the other one goes on" pair_node_goes
    end_machines
}

need
case $what in
    lint) lint ;;
    machine) machine ;;
    pair) pair ;;
    all)
        lint
        machine
        pair
        ;;
    *)
        echo "host: say lint, machine or pair" >&2
        exit 2
        ;;
esac
echo "host: $passed passed, $failed failed"
((failed == 0))
