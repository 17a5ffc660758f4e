#!/usr/bin/env bash
# Trains on one host of several: runs lipforcing train --distributed, and tells the scheduler how it ended.
#
#   launch/on_host.sh [--log FILE] [--lipforcing PROGRAM] [--dry-run] -- --config FILE --workdir DIR FIELD=VALUE ...
#
#   --log FILE            write there, anew, and not to the terminal; a run begun before with this file ends first
#   --lipforcing PROGRAM  (default: lipforcing)
#
# The exit status is that of lipforcing train, with one difference: after SIGTERM, when it has saved and ends with 0, it
# is 143 here. A scheduler would take 0 for a finished run and not start it again.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"

# A connection that broke leaves its run behind, which holds the chips.
end_earlier() {
  local number
  number=$(cat "$1" 2>/dev/null) || return 0
  grep -qs on_host.sh "/proc/$number/cmdline" || return 0
  kill -TERM "$number"
  while kill -0 "$number" 2>/dev/null; do sleep 1; done
}

parse "" "log lipforcing" "" "$@"
need_training
command=("${given[lipforcing]:-lipforcing}" train --distributed "${rest[@]}")
if $dry; then
  quoted "${command[@]}"
  exit
fi

if [[ -n ${given[log]:-} ]]; then
  end_earlier "${given[log]}.pid"
  echo $$ >"${given[log]}.pid"
  trap '' HUP
  exec >"${given[log]}" 2>&1
fi

asked=false
trap 'asked=true; kill -TERM "$child" 2>/dev/null || true' TERM INT
"${command[@]}" &
child=$!
await "$child"
if $asked && [[ $status == 0 ]]; then status=143; fi
echo "on_host: ended with $status"
exit "$status"
