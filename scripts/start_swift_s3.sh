#!/bin/bash
# Starts OpenStack Swift with its S3 API on 127.0.0.1, in a temporary folder and without systemd: a real
# implementation of S3 to run the tests against. Needs Debian's package python3-swift, and nothing else:
#
#     apt-get install --no-install-recommends python3-swift
#     scripts/start_swift_s3.sh 8080            # until Ctrl-C; then, in another terminal:
#     SCRIMP_TEST_S3=http://127.0.0.1:8080 AWS_ACCESS_KEY_ID=test:tester AWS_SECRET_ACCESS_KEY=testing make test
#
# One copy of each object, one device, keys as above (tempauth); everything is deleted at the end.
set -euo pipefail

PORT=${1:-8080}
PYTHON=/usr/bin/python3 # Debian's, which has swift
ROOT=$(mktemp -d /tmp/scrimp-swift.XXXXXX)
ME=$(id -un)

"$PYTHON" -c 'import swift' 2>/dev/null || { echo "Swift is not here: apt-get install --no-install-recommends python3-swift" >&2; exit 1; }

children=()
end() {
    [ ${#children[@]} -eq 0 ] || kill "${children[@]}" 2>/dev/null || true
    wait || true
    rm -rf "$ROOT"
}
trap end EXIT
trap 'exit 0' INT TERM

mkdir -p "$ROOT/etc" "$ROOT/nodes/disk" "$ROOT/run" "$ROOT/locks"

cat >"$ROOT/etc/swift.conf" <<CONF
[swift-hash]
swift_hash_path_prefix = scrimp
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
CONF

server() { # kind, port
    cat >"$ROOT/etc/$1.conf" <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $2
workers = 1
user = $ME
swift_dir = $ROOT/etc
devices = $ROOT/nodes
mount_check = false
log_level = ERROR
fallocate_reserve = 0
[pipeline:main]
pipeline = $1-server
[app:$1-server]
use = egg:swift#$1
CONF
}
server account $((PORT + 1))
server container $((PORT + 2))
server object $((PORT + 3))

cat >"$ROOT/etc/proxy.conf" <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $PORT
workers = 1
user = $ME
swift_dir = $ROOT/etc
log_level = ERROR
[pipeline:main]
pipeline = catch_errors proxy-logging cache listing_formats s3api tempauth copy slo dlo proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
access_log_facility = LOG_LOCAL1
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
check_bucket_owner = false
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
CONF

cd "$ROOT/etc"
port=$PORT
for kind in account container object; do
    port=$((port + 1))
    for words in "create 8 1 0" "add r1z1-127.0.0.1:$port/disk 1" rebalance; do
        # shellcheck disable=SC2086 # each word is an argument
        "$PYTHON" -c 'import sys; from swift.cli.ringbuilder import main; main(["ring-builder", *sys.argv[1:]])' \
            $kind.builder $words >>"$ROOT/ring.log" 2>&1 || true # 1 is a warning; what counts is the ring
    done
    [ -f $kind.ring.gz ] || { cat "$ROOT/ring.log" >&2; exit 1; }
done

for kind in account container object proxy; do
    SWIFT_DIR="$ROOT/etc" "$PYTHON" -c '
import sys
import swift.common.utils as utils
utils.SWIFT_CONF_FILE = sys.argv[3]
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(sys.argv[1], sys.argv[2]))' "$ROOT/etc/$kind.conf" "$kind-server" "$ROOT/etc/swift.conf" >"$ROOT/$kind.log" 2>&1 &
    children+=($!)
done

for _ in $(seq 100); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then
        echo "S3 by OpenStack Swift at http://127.0.0.1:$PORT, key test:tester, secret testing; logs in $ROOT"
        wait -n || true
        cat "$ROOT"/*.log >&2
        exit 1
    fi
    sleep 0.2
done
cat "$ROOT"/*.log >&2
echo "Swift did not start." >&2
exit 1
