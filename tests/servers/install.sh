#!/bin/sh
# The servers that the tests talk to, from Debian, where this may be done; what is missing and what is then left out.
# usage: install.sh   (quiet when everything is there; never fails: the tests skip what they cannot have, and say so)
set -u

missing=""
need() { # PACKAGES PROBE...: one of the probes (globs) must exist
    packages=$1; shift
    for probe in "$@"; do
        for path in $probe; do [ -e "$path" ] && return; done
    done
    missing="$missing $packages"
}

need "postgresql-15-postgis-3" "/usr/share/postgresql/*/extension/postgis.control"
need "radosgw ceph-mon ceph-osd" /usr/bin/radosgw
need "redis-server" /usr/bin/redis-server /usr/local/bin/redis-server
need "strace" /usr/bin/strace

[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing for the tests:$missing"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # the names are words
    if { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
        rm -f "$log"
        exit 0
    fi
    tail -n 5 "$log"
    rm -f "$log"
fi
echo "Not here:$missing. The tests that need these servers are skipped; to run them, as root:"
echo "  apt-get install --no-install-recommends$missing"
