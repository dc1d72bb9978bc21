#!/bin/sh
# Sets up the object store; harmless to run again. The root's credentials come from MC_HOST_store.
set -eu

mc mb --ignore-existing store/landing-zone store/data-lake

# The service's own user may work in the two buckets, and do nothing else. By standard input: arguments can be listed.
printf '%s\n%s\n' "$S3_ACCESS_KEY" "$S3_SECRET_KEY" | mc admin user add store
mc admin policy create store spatial-etl-buckets /deploy/policy.json
if ! mc admin policy attach store spatial-etl-buckets --user "$S3_ACCESS_KEY"; then
    case "$(mc admin policy entities store --user "$S3_ACCESS_KEY")" in
    *spatial-etl-buckets*) ;;
    *) exit 1 ;;
    esac
fi

# Manifests announce themselves; the sweep finds those whose event gets lost.
mc event add --ignore-existing store/landing-zone arn:minio:sqs::INTAKE:webhook \
    --event put --prefix manifests/ --suffix .json
