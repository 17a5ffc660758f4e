#!/usr/bin/env bash
# Trains on a GKE cluster with JobSet: fills launch/jobset.yaml and applies it.
#
#   launch/jobset.sh --name NAME --image IMAGE --bucket BUCKET --accelerator tpu-v5p-slice --topology 2x2x1 --hosts 1 \
#       [OPTION ...] -- --config configs/stage2_sf_14b.py --workdir /mnt/bucket/runs/14b FIELD=VALUE ...
#
#   --name NAME             of the JobSet
#   --image IMAGE           made from launch/Dockerfile
#   --bucket BUCKET         its name, without gs://; hosts see it as /mnt/bucket
#   --accelerator LABEL     cloud.google.com/gke-tpu-accelerator of the nodes
#   --topology TOPOLOGY     cloud.google.com/gke-tpu-topology of the nodes
#   --hosts N               nodes of the slice
#   --chips N               of each node (default: 4)
#   --namespace NAME        (default: default)
#   --service-account NAME  of Kubernetes, allowed to read and write the bucket (default: default)
#   --max-restarts N        after preemptions and errors other than refusals (default: 20)
#   --grace SECONDS         between SIGTERM and the end (default: 600)
#   --dry-run               print the manifest and the command that would take it, and call nothing
#
# What follows -- is handed to lipforcing train --distributed on every host.

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"

# A text as a JSON string, which is YAML too.
json() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\t'/\\t}
  text=${text//$'\n'/\\n}
  printf '"%s"' "$text"
}

# Kubernetes would fill in $(NAME); two dollars keep it as it is.
json_arguments() {
  local items='' item
  for item in "$@"; do items+=", $(json "${item//\$\(/\$\$\(}")"; done
  printf '[%s]' "${items:2}"
}

# The manifest with `values` in the place of ${NAME}.
manifest() {
  local line name before
  while IFS= read -r line; do
    if [[ $line != '#'* && $line =~ \$\{([A-Z_]+)\}$ ]]; then
      name=${BASH_REMATCH[1]} before=${line%"${BASH_REMATCH[0]}"}
      line=$before${values[$name]}
    fi
    printf '%s\n' "$line"
  done <"$here/jobset.yaml"
}

parse "name image bucket accelerator topology hosts" "chips namespace service-account max-restarts grace" "" "$@"
need_training
need_name name "${given[name]}"
need_number hosts "${given[hosts]}"
need_number chips "${given[chips]:=4}"
need_number max-restarts "${given["max-restarts"]:=20}"
need_number grace "${given[grace]:=600}"
printf -v options '%s,' "${mount_options[@]}"
declare -A values=(
  [NAME]=$(json "${given[name]}") [NAMESPACE]=$(json "${given[namespace]:-default}") [IMAGE]=$(json "${given[image]}")
  [SERVICE_ACCOUNT]=$(json "${given["service-account"]:-default}") [BUCKET]=$(json "${given[bucket]}")
  [ACCELERATOR]=$(json "${given[accelerator]}") [TOPOLOGY]=$(json "${given[topology]}") [MOUNT]=$(json "$mount")
  [MOUNT_OPTIONS]=$(json "${options%,}") [ARGUMENTS]=$(json_arguments "${rest[@]}") [HOSTS]=${given[hosts]}
  [CHIPS]=${given[chips]} [MAX_RESTARTS]=${given["max-restarts"]} [GRACE]=${given[grace]}
)
if $dry; then
  manifest
  echo "# $(quoted kubectl apply -f -)"
else
  manifest | kubectl apply -f -
fi
