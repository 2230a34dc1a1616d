# What the scripts here share; to be sourced.

passed=0 failed=0
# The Debian of machines that are made for a test: this machine's, or the one that IRONBELL_SUITE names.
suite=${IRONBELL_SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-}")}

# Runs a command as a test of this name, and counts it: `check NAME COMMAND…`.
check() {
    local name=$1
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "== failed: $name"
    fi
}

# Installs Debian packages, as root: `bring PACKAGE…`; nothing without any.
bring() {
    (($#)) || return 0
    # Waits for another apt-get that holds the lock instead of failing at once.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q -o DPkg::Lock::Timeout=300 --no-install-recommends "$@" >/dev/null
}

# Makes a Python environment with what a file of requirements lists, unless it is there: `environment DIR FILE`.
environment() {
    # The stamp is written last, so that an interrupted installation is taken up again.
    if ! cmp -s "$2" "$1/requirements.txt"; then
        echo "making $1"
        [[ -x $1/bin/python ]] || python3 -m venv "$1"
        "$1/bin/python" -m pip install -q --disable-pip-version-check -r "$2"
        cp "$2" "$1/requirements.txt"
    fi
}
