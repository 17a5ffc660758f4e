#!/usr/bin/env bash
# Trains on a GKE cluster that was made by xpk: attaches the bucket where that is asked, and creates the workload.
#
#   launch/xpk.sh --name NAME --project PROJECT --zone ZONE --cluster CLUSTER --tpu-type v5p-8 --image IMAGE \
#       --storage STORAGE [OPTION ...] -- --config configs/stage2_sf_14b.py --workdir /mnt/bucket/runs/14b FIELD=VALUE ...
#
#   --name NAME          of the workload
#   --tpu-type TYPE      such as v5p-8 or v6e-8
#   --image IMAGE        made from launch/Dockerfile
#   --storage STORAGE    xpk's name for the bucket, which hosts see as /mnt/bucket
#   --bucket BUCKET      attach this bucket to the cluster under the name STORAGE; needed once for a cluster
#   --max-restarts N     after preemptions and errors other than refusals (default: 20)
#   --grace SECONDS      between SIGTERM and the end (default: 600)
#   --dry-run            print the commands and call nothing
#
# What follows -- is handed to lipforcing train --distributed on every host.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

attach() {
  local options
  printf -v options '%s,' "${mount_options[@]}"
  run xpk storage attach "${given[storage]}" --type=gcsfuse "${cluster[@]}" --bucket="${given[bucket]}" --size=1 \
    --mount-point="$mount" --mount-options="${options%,}" --readonly=false --auto-mount=false
}

create() {
  run xpk workload create --workload="${given[name]}" "${cluster[@]}" --tpu-type="${given["tpu-type"]}" --num-slices=1 \
    --docker-image="${given[image]}" --storage="${given[storage]}" --max-restarts="${given["max-restarts"]}" \
    --termination-grace-period-seconds="${given[grace]}" --command="bash launch/on_host.sh -- $(quoted "${rest[@]}")"
}

parse "name project zone cluster tpu-type image storage" "bucket max-restarts grace" "" "$@"
need_training
need_name name "${given[name]}"
need_number max-restarts "${given["max-restarts"]:=20}"
need_number grace "${given[grace]:=600}"
cluster=(--project="${given[project]}" --zone="${given[zone]}" --cluster="${given[cluster]}")
if [[ -n ${given[bucket]:-} ]]; then attach; fi
create
