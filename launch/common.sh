# shellcheck shell=bash disable=SC2034
# Sourced by the scripts beside it: arguments, one sentence for every mistake, and commands that --dry-run only prints.
# It asks for no credentials: gcloud, kubectl, xpk and gcsfuse use those of whoever calls them.

declare -A given=() # what stands behind an option, by its name
rest=()             # what follows --
dry=false
mount=/mnt/bucket # where hosts see the bucket
# A checkpoint becomes whole by renaming its folder, and hosts must see at once what another has written.
mount_options=(implicit-dirs rename-dir-limit=200000 metadata-cache-ttl-secs=0 metadata-cache-negative-ttl-secs=0)

fail() {
  echo "${0##*/}: error: $*" >&2
  exit 2
}

# The comment at the head of the script.
usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# parse NEEDED OPTIONAL SWITCHES ARGUMENT...: fills given, rest and dry; the first three are lists of names.
parse() {
  local needed=$1 optional=$2 switches=$3 name
  shift 3
  while (($#)); do
    case $1 in
    -h | --help) usage && exit 0 ;;
    --dry-run) dry=true ;;
    --) shift && rest=("$@") && break ;;
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
    --*)
      name=${1#--}
      if [[ " $switches " == *" $name "* ]]; then
        given[$name]=yes
      elif [[ " $needed $optional " == *" $name "* ]]; then
        [[ $# -gt 1 && -n $2 && $2 != --* ]] || fail "--$name needs a value (see --help)."
        given[$name]=$2
        shift
      else
        fail "there is no option --$name (see --help)."
      fi
      ;;
    *) fail "'$1' is no option; what lipforcing train is to be told follows -- (see --help)." ;;
    esac
    shift
  done
  for name in $needed; do
    [[ -n ${given[$name]:-} ]] || fail "--$name is missing (see --help)."
  done
}

# Whether `rest` can be a training, as far as that is seen from here.
need_training() {
  local i config='' workdir=''
  for i in "${!rest[@]}"; do
    case ${rest[i]} in
    --config) config=${rest[i + 1]:-} ;;
    --config=*) config=${rest[i]#*=} ;;
    --workdir) workdir=${rest[i + 1]:-} ;;
    --workdir=*) workdir=${rest[i]#*=} ;;
    esac
  done
  [[ -n $config ]] || fail "after -- lipforcing train needs --config FILE (see --help)."
  [[ -n $workdir ]] || fail "after -- lipforcing train needs --workdir DIR (see --help)."
  [[ $workdir != *:/* ]] || fail "--workdir $workdir is an address; give a folder as the hosts see it (see --help)."
}

need_number() {
  [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "--$1 $2 is not a number of at least 1."
}

# Names of Kubernetes and of Cloud TPU.
need_name() {
  [[ $2 =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
    fail "--$1 $2 is no name: up to 40 small letters, digits and dashes, a letter first and no dash last."
}

# A command as it could be typed.
quoted() {
  local line
  printf -v line '%q ' "$@"
  printf '%s\n' "${line% }"
}

run() {
  if $dry; then quoted "$@"; else "$@"; fi
}

# await PROCESS: sets `status` to its exit status. A signal that this shell traps ends `wait` before the process does.
await() {
  while true; do
    status=0
    wait "$1" || status=$?
    kill -0 "$1" 2>/dev/null || return 0
  done
}
