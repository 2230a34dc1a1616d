#!/usr/bin/env bash
# Builds the Debian package for the Debian it runs on: target/package/ironbell_VERSION_ARCH.deb, and beside it what goes into
# it: man pages and completions from the definition of the command line, and a bill of materials (CycloneDX) of each program.
#
# The same sources, toolchain and Debian give the same bytes: dates are the last commit's (SOURCE_DATE_EPOCH), and paths of
# this machine are replaced in what the compilers write.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

deb_version=3.8.0       # cargo-deb
cyclonedx_version=0.5.9 # cargo-cyclonedx
stage=$PWD/target/package
tools=$PWD/target/package-tools
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo_home=${CARGO_HOME:-$HOME/.cargo}

if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || {
        echo "package: this is no checkout of git; set SOURCE_DATE_EPOCH to the seconds since 1970 of the release" >&2
        exit 1
    }
fi
export SOURCE_DATE_EPOCH

tool() {
    grep -qs "^\"$1 $2 " "$tools/.crates.toml" || CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --root "$tools" --version "$2" "$1"
}
# Into a target folder of their own, with nothing of the flags below.
tool cargo-deb "$deb_version"
tool cargo-cyclonedx "$cyclonedx_version"

# The programs. The last prefix that fits is the one that counts, so that the widest comes first.
remap=("--remap-path-prefix=$cargo_home=/usr/src/cargo" "--remap-path-prefix=$PWD=/usr/src/ironbell" "--remap-path-prefix=$target=/usr/src/ironbell/target")
export CARGO_ENCODED_RUSTFLAGS
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f' "${remap[@]}")
CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\x1f'}
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$cargo_home=/usr/src/cargo -ffile-prefix-map=$target=/usr/src/ironbell/target"
cargo build --release --locked -p ironbell-appliance -p ironbell-exporter

rm -rf "$stage"
mkdir -p "$stage"
"$target/release/ironbell" pages "$stage"
"$target/release/ironbell-exporter" --pages "$stage"

# The bill of materials: made in a copy, for it is written beside each manifest.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar --exclude=./target --exclude=./.git -cf - . | tar -xf - -C "$copy"
(cd "$copy" && "$tools/bin/cargo-cyclonedx" cyclonedx --format json --spec-version 1.5 --describe binaries --quiet \
    --target "$(rustc -vV | sed -n 's/^host: //p')")
for program in appliance/ironbell exporter/ironbell-exporter; do
    sed "s|$copy|/usr/src/ironbell|g" "$copy/engine/${program%/*}/${program#*/}_bin.cdx.json" >"$stage/${program#*/}.cdx.json"
done

(cd engine/appliance && "$tools/bin/cargo-deb" --no-build --quiet --output "$stage/")
echo "package: $(sha256sum "$stage"/*.deb)"
