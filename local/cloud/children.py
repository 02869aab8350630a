"""Processes that belong to the emulator and must not outlive it: Lambda workers and SageMaker containers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_LAUNCHER = Path(__file__).with_name("child.py")

# Every process of a launch carries its mark; processes.py sweeps what a crash left by it.
MARK = "_SLIDR_LAUNCH"

# PR_SET_PDEATHSIG fires when the *thread* that forked ends, not the process. So every child is forked by this one
# thread, which lives as long as the process does.
_FORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """How to start a child; the streams are as in subprocess.Popen."""

    environment: Mapping[str, str]
    directory: Path
    stdin: int | IO[bytes] | None = subprocess.DEVNULL
    output: int | IO[bytes] | None = None
    pass_fds: tuple[int, ...] = ()


def start_child(command: Sequence[str], options: ChildOptions) -> subprocess.Popen[bytes]:
    """Start `command`; it is killed when this process ends, however it ends."""
    environment = dict(options.environment)
    if MARK in os.environ:
        environment[MARK] = os.environ[MARK]

    def fork() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command],
            env=environment,
            cwd=options.directory,
            stdin=options.stdin,
            stdout=options.output,
            stderr=subprocess.STDOUT if options.output is not None else None,
            pass_fds=options.pass_fds,
        )

    return _FORKER.submit(fork).result()


def stop_child(process: subprocess.Popen[bytes], *, grace_s: float = 2.0) -> None:
    """End `process` and collect it: asked first, killed after `grace_s` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
