#!/bin/sh
# Redis as the queue needs it: every job on disk at once or a second later, and none ever thrown away.
set -eu
cd "${REDIS_DIR:-/data}"
exec redis-server - --port "${REDIS_PORT:-6379}" --appendonly yes --save '' --maxmemory-policy noeviction <<CONF
requirepass "$REDIS_PASSWORD"
CONF
