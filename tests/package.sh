#!/usr/bin/env bash
# The package: built twice with the same bytes (the second time with the two programs compiled anew), read by lintian,
# installed into a Debian of its own, whose node then formats a journal, and removed again, which leaves the venue alone.
#
#   tests/package.sh          builds it, twice
#   tests/package.sh built    looks at the one that is there
#
# As root, for mmdebstrap. Its last line says 'package: N passed, N failed'.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/lib.sh

what=${1:-all}
target=${CARGO_TARGET_DIR:-$PWD/target}
stage=$PWD/target/package

need() {
    local missing=()
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    command -v lintian >/dev/null || missing+=(lintian)
    command -v man >/dev/null || missing+=(man-db)
    if ((EUID != 0)); then
        echo "package: run it as root${missing[*]:+; missing: ${missing[*]}}" >&2
        exit 1
    fi
    bring "${missing[@]}"
}

builds() {
    rm -f "$stage"/*.deb
    engine/appliance/package/build.sh
}

builds_the_same_again() {
    local before after
    before=$(sha256sum <"$(echo "$stage"/*.deb)")
    (
        # The same folders, or everything would be compiled again: what must not show is when.
        cargo clean --release --quiet -p ironbell-appliance -p ironbell-exporter
        builds
    ) || return 1
    after=$(sha256sum <"$(echo "$stage"/*.deb)")
    [[ $before == "$after" ]]
}

names_no_place_of_this_machine() {
    local files=$1 place
    for place in "$PWD" "$target" "${CARGO_HOME:-$HOME/.cargo}"; do
        if grep -rlF -- "$place" "$files"; then
            echo "package: the files above hold $place" >&2
            return 1
        fi
    done
}

holds_what_it_should() {
    local files=$1 file
    for file in usr/bin/ironbell usr/bin/ironbell-exporter etc/ironbell/node.toml usr/lib/systemd/system/ironbell.service \
        usr/lib/systemd/system/ironbell-exporter.service usr/lib/sysusers.d/ironbell.conf usr/lib/tmpfiles.d/ironbell.conf \
        usr/share/man/man1/ironbell.1.gz usr/share/man/man1/ironbell-ctl-kill.1.gz usr/share/man/man1/ironbell-exporter.1.gz \
        usr/share/bash-completion/completions/ironbell usr/share/zsh/vendor-completions/_ironbell \
        usr/share/fish/vendor_completions.d/ironbell.fish usr/share/ironbell/profiles/production.toml \
        usr/share/ironbell/monitoring/alerts.yml usr/share/ironbell/monitoring/dashboards/order-flow.json \
        usr/share/doc/ironbell/copyright usr/share/doc/ironbell/ironbell.cdx.json; do
        [[ -e $files/$file ]] || {
            echo "package: it has no $file" >&2
            return 1
        }
    done
    man -l "$files/usr/share/man/man1/ironbell.1.gz" | grep -q 'exchange and settlement venue' &&
        python3 - "$files/usr/share/doc/ironbell/ironbell.cdx.json" <<'PYTHON'
import json, sys
bill = json.load(open(sys.argv[1]))
names = {component["name"] for component in bill["components"]}
assert bill["bomFormat"] == "CycloneDX" and {"rustix", "ironbell-core", "clap"} <= names, sorted(names)
print(f"bill of materials: {len(names)} components")
PYTHON
}

reads_well() {
    # The changelog is git's.
    lintian --fail-on error --suppress-tags no-changelog "$stage"/*.deb
}

units_hold() {
    local said
    said=$(systemd-analyze verify --man=no --root="$root" ironbell.service ironbell-exporter.service 2>&1) || {
        echo "$said"
        return 1
    }
    # An unknown word is a warning to systemd, and here an error.
    [[ -z $said ]] || {
        echo "$said"
        return 1
    }
}

root=$stage.root

make_root() {
    rm -rf "$root"
    mmdebstrap --quiet --variant=minbase --include=systemd-sysv,util-linux "$suite" "$root"
}

# As in a machine that is being installed: the scripts need /proc. It is mounted for the command alone.
in_root() {
    unshare --mount sh -c 'root=$1 && shift && mount -t proc proc "$root/proc" && exec chroot "$root" "$@"' sh "$root" "$@"
}

installs() {
    cp "$stage"/*.deb "$root/ironbell.deb"
    in_root dpkg -i /ironbell.deb &&
        [[ $(in_root stat -c '%U:%G %a' /etc/ironbell/node.toml) == 'root:ironbell 640' ]] &&
        [[ $(in_root stat -c '%U:%G %a' /var/lib/ironbell) == 'ironbell:ironbell 750' ]] &&
        in_root ironbell --version && in_root ironbell-exporter --version &&
        # Nothing was enabled.
        [[ ! -e $root/etc/systemd/system/multi-user.target.wants/ironbell.service ]]
}

formats_a_venue() {
    cat >"$root/etc/ironbell/genesis.toml" <<'TOML'
data_dir = "/var/lib/ironbell/data"
[journal]
durability = "buffered"
segment_bytes = 4194304
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "IRON", decimals = 0 }]
instruments = [{ symbol = "IRON", base = "IRON", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "only-a-lab", firm = "ALFA", account = 1 }]
TOML
    in_root runuser -u ironbell -- ironbell format --config /etc/ironbell/genesis.toml &&
        in_root runuser -u ironbell -- ironbell journal verify /var/lib/ironbell/data
}

leaves_the_venue() {
    in_root dpkg --purge ironbell && [[ ! -e $root/usr/bin/ironbell ]] &&
        [[ -d $root/var/lib/ironbell/data/journal ]]
}

need
[[ $what == built ]] || check "it is built" builds
if ((failed == 0)); then
    files=$(mktemp -d)
    trap 'rm -rf "$files" "$root"' EXIT
    dpkg-deb --extract "$stage"/*.deb "$files"
    check "it holds what it should, and its manual can be read" holds_what_it_should "$files"
    check "nothing in it names a place of this machine" names_no_place_of_this_machine "$files"
    check "lintian finds no error" reads_well
    check "a Debian of its own" make_root
    check "it can be installed" installs
    check "its units hold" units_hold
    check "its node formats a journal" formats_a_venue
    check "removed, it leaves the venue" leaves_the_venue
    [[ $what == built ]] || check "built again, it has the same bytes" builds_the_same_again
fi
echo "package: $passed passed, $failed failed"
((failed == 0))
