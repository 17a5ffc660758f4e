#!/usr/bin/env bash
# Trains on GPUs under Slurm, one process on each node; from the root of a checkout:
#
#   sbatch --nodes=2 --gpus-per-node=8 launch/slurm.sh -- \
#       --config configs/stage2_sf_14b.py --workdir /shared/runs/14b FIELD=VALUE ...
#
#   --lipforcing PROGRAM  where it is on the nodes (default: lipforcing)
#   --dry-run             print what the job would do and call nothing: bash launch/slurm.sh --dry-run -- ...
#
# The work folder, weights and data lie on a file system that all nodes see. Ten minutes before the job's time is up the
# run is asked to save, and the job goes back to the queue. Options of sbatch go before the script's name.

#SBATCH --job-name=lipforcing
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -euo pipefail
# Slurm runs a copy of this file from elsewhere.
here=${SLURM_SUBMIT_DIR:+$SLURM_SUBMIT_DIR/launch}
here=${here:-$(dirname "$0")}
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$here/common.sh"

# JAX would take one GPU for a process under Slurm; a sample may lie on all of one process, so that it gets all.
gpus() {
  seq -s, 0 $((${SLURM_GPUS_ON_NODE:-8} - 1))
}

parse "" "lipforcing" "" "$@"
need_training
step=(srun --kill-on-bad-exit=1 env "JAX_LOCAL_DEVICE_IDS=$(gpus)"
  "${given[lipforcing]:-lipforcing}" train --distributed "${rest[@]}")
if $dry; then
  quoted "${step[@]}"
  echo "# ten minutes before the end: scancel --signal=TERM JOB, and when that has ended: scontrol requeue JOB"
  exit
fi
[[ -n ${SLURM_JOB_ID:-} ]] || fail "this is a job for Slurm: sbatch launch/slurm.sh -- ... (see --help)."

asked=false
# All steps are told; the shell that runs this is not among them.
trap 'asked=true; scancel --signal=TERM "$SLURM_JOB_ID"' TERM
"${step[@]}" &
await $!
if $asked; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
