"""The program that a Cpu job runs in: an iterated sha256 under limits of its own. Only the standard library; run as a file.

Arguments: iterations, seed, seconds of processor time, process id of the node. Prints the digest and the milliseconds used.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import signal
import sys
import time

MEMORY = 256 * 1024 * 1024
FILES = 16
_PR_SET_PDEATHSIG = 1


def confine(seconds: int, node: int) -> None:
    """Set the limits of this process, and have it killed when the process *node* ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != node:  # it ended before it could be asked for
        raise SystemExit(1)
    limits = {"RLIMIT_AS": MEMORY, "RLIMIT_NOFILE": FILES, "RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0}
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def digest(iterations: int, seed: int) -> str:
    """sha256, applied *iterations* times, to the decimal text of *seed*."""
    state = str(seed).encode()
    for _ in range(iterations):
        state = hashlib.sha256(state).digest()
    return state.hex()


def main(arguments: list[str]) -> None:
    """Confine this process, compute, and print."""
    iterations, seed, seconds, node = map(int, arguments)
    confine(seconds, node)
    result = digest(iterations, seed)
    sys.stdout.write(f"{result} {round(time.process_time() * 1000)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
