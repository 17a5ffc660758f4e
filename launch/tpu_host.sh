#!/usr/bin/env bash
# Makes a TPU VM ready, on the VM: mounts the bucket and installs this checkout. tpu_vm.sh calls it on every host.
#
#   launch/tpu_host.sh --bucket BUCKET [--mount DIR] [--dry-run]
#
#   --bucket BUCKET  its name, without gs://
#   --mount DIR      where it is to appear (default: /mnt/bucket)
#
# The VM's service account must be allowed to read and write the bucket.

set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "$0")/common.sh"
repository=https://packages.cloud.google.com/apt
key=/usr/share/keyrings/cloud.google.asc

install_gcsfuse() {
  local release
  if ! $dry && command -v gcsfuse >/dev/null; then return; fi
  release=$(lsb_release -cs 2>/dev/null || echo jammy)
  run sudo curl -fsSL "$repository/doc/apt-key.gpg" -o "$key"
  run sudo bash -c "echo 'deb [signed-by=$key] $repository gcsfuse-$release main' >/etc/apt/sources.list.d/gcsfuse.list"
  run sudo apt-get update -qq
  run sudo apt-get install -qq -y gcsfuse
}

mount_bucket() {
  if ! $dry && mountpoint -q "$mount"; then return; fi
  run sudo mkdir -p "$mount"
  run sudo chown "$(id -un)" "$mount"
  run gcsfuse "${mount_options[@]/#/--}" "${given[bucket]}" "$mount"
  run mountpoint -q "$mount"
}

# Ubuntu 22.04 has Python 3.10, so that uv brings another one.
install_package() {
  run python3 -m pip install --quiet --user uv
  run python3 -m uv venv --quiet --allow-existing --python 3.12 "$HOME/venv"
  run python3 -m uv pip install --quiet --python "$HOME/venv/bin/python" "$(cd "$(dirname "$0")/.." && pwd)[tpu]"
}

parse "bucket" "mount" "" "$@"
mount=${given[mount]:-$mount}
install_gcsfuse
mount_bucket
install_package
