#!/usr/bin/env bash
# Trains on a TPU slice: queues for it, installs on all of its hosts, runs, and queues again after a preemption.
#
#   launch/tpu_vm.sh --name NAME --project PROJECT --zone ZONE --accelerator-type v5p-8 --bucket BUCKET [OPTION ...] -- \
#       --config configs/stage2_sf_14b.py --workdir /mnt/bucket/runs/14b FIELD=VALUE ...
#
#   --name NAME               of the queued resource and of its node
#   --accelerator-type TYPE   such as v5p-8 or v6e-8
#   --bucket BUCKET           its name, without gs://; hosts see it as /mnt/bucket
#   --mount DIR               where hosts see the bucket instead
#   --runtime-version NAME    (default: by the accelerator)
#   --service-account EMAIL   of the VMs (default: the project's)
#   --spot, --reserved        kinds of capacity (default: on demand)
#   --attempts N              how often it is started in all (default: 10)
#   --logs DIR                the hosts' logs come here after every attempt (default: logs/NAME)
#   --delete                  give the slice back at the end of a run that is finished
#   --dry-run                 print the commands of one attempt and call nothing
#
# What follows -- is handed to lipforcing train --distributed on every host. The committed state of this checkout is
# installed. Started again, the script takes a slice of this name that it finds, and the run goes on from its newest
# checkpoint. The slice costs money until it is deleted.

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"
seconds=30 # between two looks at the queue

runtime_of() {
  case $1 in
  v6e-*) echo v2-alpha-tpuv6e ;;
  v5p-*) echo v2-alpha-tpuv5 ;;
  v5litepod-*) echo v2-alpha-tpuv5-lite ;;
  *) fail "--accelerator-type $1 has no known runtime; give --runtime-version too." ;;
  esac
}

queue() {
  local capacity=()
  if [[ -n ${given[spot]:-} ]]; then capacity+=(--spot); fi
  if [[ -n ${given[reserved]:-} ]]; then capacity+=(--reserved); fi
  if [[ -n ${given["service-account"]:-} ]]; then capacity+=("--service-account=${given["service-account"]}"); fi
  run gcloud compute tpus queued-resources create "$name" --node-id="$name" "${where[@]}" \
    --accelerator-type="${given["accelerator-type"]}" --runtime-version="$runtime" "${capacity[@]}"
}

state() {
  gcloud compute tpus queued-resources describe "$name" "${where[@]}" --format='value(state.state)' 2>/dev/null ||
    echo MISSING
}

remove() {
  run gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet
}

# Waits for the slice. A preempted one is SUSPENDED, keeps its name and never comes back.
obtain() {
  local found
  if $dry; then
    queue
    quoted gcloud compute tpus queued-resources describe "$name" "${where[@]}" --format='value(state.state)'
    return
  fi
  until found=$(state) && [[ $found == ACTIVE ]]; do
    case $found in
    MISSING) queue ;;
    SUSPENDED) remove ;;
    FAILED) fail "the queue has refused $name: gcloud compute tpus queued-resources describe says why; delete it then." ;;
    *) echo "$name: $found" && sleep "$seconds" ;;
    esac
  done
}

# on_all COMMAND [FLAG ...]: a command line for every host.
on_all() {
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all --ssh-flag="-o ServerAliveInterval=30" \
    --command="$1" "${@:2}"
}

prepare() {
  run git -C "$here/.." archive --format=tar.gz --prefix=lipforcing-jax/ --output="$logs/source.tar.gz" HEAD &&
    run gcloud compute tpus tpu-vm scp "$logs/source.tar.gz" "$name:source.tar.gz" "${where[@]}" --worker=all &&
    on_all "tar -xzf source.tar.gz && $(quoted lipforcing-jax/launch/tpu_host.sh --bucket "${given[bucket]}" --mount "$mount")"
}

# The programs are in ~/venv and logs in the home folder of every host.
train() {
  on_all "cd lipforcing-jax && launch/on_host.sh --log ../lipforcing.log --lipforcing ../venv/bin/lipforcing -- $(quoted "${rest[@]}")"
}

collect() {
  run mkdir -p "$1" && on_all "tail -n 2000 lipforcing.log" --output-directory="$1"
}

parse "name project zone accelerator-type bucket" "mount runtime-version service-account attempts logs" \
  "spot reserved delete" "$@"
need_training
need_name name "${given[name]}"
need_number attempts "${given[attempts]:=10}"
name=${given[name]} mount=${given[mount]:-$mount} logs=${given[logs]:-logs/${given[name]}}
[[ $logs == /* ]] || logs=$PWD/$logs # git writes there from another folder
where=(--project="${given[project]}" --zone="${given[zone]}")
runtime=${given["runtime-version"]:-}
[[ -n $runtime ]] || runtime=$(runtime_of "${given["accelerator-type"]}") || exit

run mkdir -p "$logs"
for ((attempt = 1; attempt <= given[attempts]; attempt++)); do
  obtain
  folder=$logs/attempt_$attempt
  if prepare && train; then
    collect "$folder"
    if [[ -n ${given[delete]:-} ]]; then remove; fi
    exit
  fi
  collect "$folder" || echo "$name: no logs could be read" >&2
  if grep -qsr "on_host: ended with 2$" "$folder"; then fail "the run was refused; $folder says why."; fi
  echo "$name: attempt $attempt has ended, the slice is $(state)" >&2
done
echo "${0##*/}: error: the run is not finished after ${given[attempts]} attempts; see $logs." >&2
exit 1
