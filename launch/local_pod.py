"""A pod on this machine: several processes of one training run, each with several simulated CPU devices.

    python launch/local_pod.py --hosts 2 --devices 2 -- --config configs/nano_df.py --workdir DIR mesh=fsdp=4

What follows -- is handed to `lipforcing train --distributed`. When a process ends with an error the others are ended
too, and its output says why; the same command then goes on from the newest checkpoint.
"""

import argparse
import os
import shlex
import socket
import subprocess
import sys
import time


def count(text: str) -> int:
    """A number of at least 1. Raises ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(number: int, hosts: int, devices: int, port: int) -> dict[str, str]:
    """What makes a process one of the pod's."""
    return {
        "JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": str(hosts), "JAX_PROCESS_ID": str(number),
    }  # fmt: skip


def wait(started: list[subprocess.Popen]) -> int:
    """The first error's status, after which the other processes are ended; 0 if there is none."""
    while True:
        statuses = [process.poll() for process in started]
        failed = [i for i, status in enumerate(statuses) if status]
        if failed:
            status = statuses[failed[0]]
            print(f"local_pod: process {failed[0]} ended with {status}; ending the others", file=sys.stderr)
            for process in started:
                process.kill()
            return abs(status)
        if None not in statuses:
            return 0
        time.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=count, default=2, help="processes (default: 2)")
    parser.add_argument("--devices", type=count, default=2, help="devices of each (default: 2)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run none")
    parser.add_argument("arguments", nargs="+", help="of lipforcing train, after --")
    options = parser.parse_args()
    command = [sys.executable, "-m", "lipforcing_jax", "train", "--distributed", *options.arguments]
    port, started = free_port(), []
    for number in range(options.hosts):
        told = environment(number, options.hosts, options.devices, port)
        if options.dry_run:
            print(shlex.join(["env", *(f"{name}={value}" for name, value in told.items()), *command]))
        else:
            started.append(subprocess.Popen(command, env=os.environ | told))
    return wait(started)


if __name__ == "__main__":
    sys.exit(main())
