"""Run a command so that it dies with the process that started it: `python child.py <parent pid> <command> ...`.

A killed emulator (kill -9) cannot clean up after itself; on Linux the kernel does it (PR_SET_PDEATHSIG, which
survives exec). Elsewhere the sweep by launch mark in processes.py does it, at the next `up` or `down`. This file is
run as a script by bare interpreters: it imports the standard library only, and nothing of the project.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when `parent` dies; exit now if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the whole purpose: become the command
