"""Lambda bundles: `python -m infra.bundle` makes `build/bundles/<function>-<platform>/` for arm64 and this machine.

A bundle is the function's code and the packages of its `requirements.lock`, nothing that the Lambda runtime
already has. Packages are installed once a lock and platform; a change of code only copies code.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from infra.elf import MACHINES, foreign_objects
from infra.settings import Architecture, FunctionSettings, machine_runtime
from slidr.errors import SlidrError

REPOSITORY: Final = Path(__file__).resolve().parent.parent
BUNDLES: Final = REPOSITORY / "build" / "bundles"
FUNCTIONS: Final = ("score_clicks", "prepare_archive", "daily_loop", "roll_back_release", "replay")
FORBIDDEN: Final = frozenset(
    {
        *("boto3", "botocore", "s3transfer"),
        *("torch", "cvxpy", "pandas", "sagemaker", "scipy", "pyarrow", "polars", "numba", "duckdb", "onnxruntime"),
    }
)
"""Packages that no bundle may hold: the runtime has the SDK, the rest belongs to training (rule 11)."""
SIZE_CEILING_MB: Final = {
    "score_clicks": 80,
    "prepare_archive": 30,
    "daily_loop": 70,
    "roll_back_release": 70,
    "replay": 70,
}
"""Unzipped. The service refuses 250 MB; cold starts grow long before that."""

_EPOCH: Final = 315_532_800  # 1980-01-01, the earliest time a zip can hold
_STRIPPED_DIRECTORIES: Final = frozenset(
    {"__pycache__", "tests", "test", "testing", "include", "f2py", "bin", "distutils"}
)
_STRIPPED_SUFFIXES: Final = frozenset({".pyc", ".pyi", ".pxd", ".pyx", ".h", ".c", ".a"})
_STRIPPED_METADATA: Final = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
_NOT_CODE: Final = ("__pycache__", "*.pyc", "requirements.*")


class BundleInvalid(SlidrError):
    """A bundle cannot be made, or holds what it must not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Where a bundle runs. `name` is the directory's suffix."""

    architecture: Architecture
    python: str
    """Like "3.13"."""
    native: bool
    """Whether this very interpreter runs it: then pip's own choice of wheels is right."""

    @property
    def name(self) -> str:
        """Like `arm64-py313`; this machine's interpreter is `local-py311`."""
        version = self.python.replace(".", "")
        return f"local-py{version}" if self.native else f"{self.architecture}-py{version}"

    def interpreter(self) -> str | None:
        """A Python of this version on this machine, to compile bytecode with; None where there is none."""
        if self.native or self.python == f"{sys.version_info.major}.{sys.version_info.minor}":
            return sys.executable
        return _working_interpreter(self.python)

    def pip_options(self) -> list[str]:
        """The wheels pip may take: manylinux builds that Lambda's Amazon Linux 2023 (glibc 2.34) can load."""
        if self.native:
            return []
        machine = "aarch64" if self.architecture == "arm64" else "x86_64"
        tags = [f"--platform=manylinux{tag}_{machine}" for tag in ("2014", "_2_17", "_2_27", "_2_28", "_2_34")]
        return [*tags, f"--python-version={self.python}", "--implementation=cp"]


@cache
def _working_interpreter(python: str) -> str | None:
    """A `python3.x` that starts: version managers leave stand-ins that do not."""
    found = shutil.which(f"python{python}")
    if found is None:
        return None
    asked = subprocess.run(  # noqa: S603
        [found, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=False
    )
    return found if asked.stdout.strip() == python else None


def platform_of(functions: FunctionSettings, *, native: bool) -> Platform:
    """The platform of a stage's functions; `native` for the local cloud."""
    return Platform(architecture=functions.architecture, python=functions.python, native=native)


def bundle(function: str, platform: Platform, *, output: Path = BUNDLES) -> Path:
    """The directory of an up-to-date bundle; made, refreshed or reused.

    Raises:
        BundleInvalid: the lock is missing, pip failed, or the result holds a foreign or forbidden file.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a test run and a deployment may want the same bundle at once
        return _bundle(function, platform, output=output)


def _bundle(function: str, platform: Platform, *, output: Path) -> Path:
    target = output / f"{function}-{platform.name}"
    packages = _packages(function, platform, output=output)
    stamp = f"{packages.name} {_code_hash(function)}"
    stamp_file = output / f"{target.name}.stamp"
    if target.is_dir() and stamp_file.is_file() and stamp_file.read_text("utf-8") == stamp:
        return target
    with tempfile.TemporaryDirectory(dir=output, prefix=".making-") as scratch:
        made = Path(scratch) / "bundle"
        shutil.copytree(packages, made, copy_function=os.link)
        for source, name in _code(function):
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, made / name)
        for package in ("slidr", "functions"):
            _compile(made, package, platform=platform)
        _settle_times(made)
        check(made, function=function, platform=platform)
        stamp_file.unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    stamp_file.write_text(stamp, "utf-8")
    return target


def check(directory: Path, *, function: str, platform: Platform) -> None:
    """Raise BundleInvalid unless a bundle is small, free of forbidden packages, and all for its machine."""
    came = sorted(FORBIDDEN & {entry.name for entry in directory.iterdir()})
    if came:
        raise BundleInvalid(
            f"{directory.name} must hold none of {sorted(FORBIDDEN)}, came {came}; mend its requirements.lock"
        )
    if platform.architecture in MACHINES and (not platform.native or sys.platform == "linux"):
        foreign = foreign_objects(directory, architecture=platform.architecture)
        if foreign:
            names = ", ".join(str(path.relative_to(directory)) for path in foreign[:5])
            raise BundleInvalid(
                f"every shared object must be for {platform.architecture}; {len(foreign)} are not: {names}"
            )
    ceiling = SIZE_CEILING_MB.get(function)
    size = size_mb(directory)
    if ceiling is not None and size > ceiling:
        raise BundleInvalid(f"{directory.name} must stay under {ceiling} MB unzipped, came {size:.1f} MB")


def size_mb(directory: Path) -> float:
    """Bytes of all files, in millions."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6


def packages_directory(function: str, platform: Platform, *, output: Path = BUNDLES) -> Path:
    """Where the packages of a function's lock are, or will be, installed for a platform.

    Raises:
        BundleInvalid: the function has no lock.
    """
    lock = _lock(function)
    if not lock.is_file():
        raise BundleInvalid(f"{lock.relative_to(REPOSITORY)} is required; make it with `python -m infra.lock`")
    compiled = platform.interpreter() is not None
    stripped = [sorted(names) for names in (_STRIPPED_DIRECTORIES, _STRIPPED_SUFFIXES, _STRIPPED_METADATA)]
    rules = f"{platform.name} {compiled} {stripped}"
    digest = hashlib.sha256(lock.read_bytes() + rules.encode()).hexdigest()[:16]
    return output / "packages" / f"{platform.name}-{digest}"


def _packages(function: str, platform: Platform, *, output: Path) -> Path:
    """The installed packages of a lock for a platform, from the cache where the lock did not change."""
    target = packages_directory(function, platform, output=output)
    if target.is_dir():
        return target
    lock = _lock(function)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".installing-") as scratch:
        made = Path(scratch) / "packages"
        command = [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--no-compile"),
            *("--only-binary=:all:", "--disable-pip-version-check", "--target", str(made), "--requirement", str(lock)),
            *platform.pip_options(),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if result.returncode:
            raise BundleInvalid(
                f"pip could not install {lock.relative_to(REPOSITORY)} for {platform.name}: "
                f"{result.stderr.strip()[-800:]}\nWith a bundle in {BUNDLES} no network is needed."
            )
        _strip(made)
        _compile(made, ".", platform=platform)
        made.rename(target)
    return target


def _lock(function: str) -> Path:
    return REPOSITORY / "functions" / function / "requirements.lock"


def _strip(directory: Path) -> None:
    """Drop what a function never reads: tests, stubs, headers, scripts, pip's records."""
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir():
            if path.name in _STRIPPED_DIRECTORIES:
                shutil.rmtree(path)
        elif path.suffix in _STRIPPED_SUFFIXES or path.name in _STRIPPED_METADATA:
            path.unlink()


def _compile(directory: Path, package: str, *, platform: Platform) -> None:
    """Add bytecode where this machine has the function's Python.

    A function's directory is read-only, so each cold start would compile every import again: two thirds of its time.
    """
    interpreter = platform.interpreter()
    if interpreter is None:
        return
    command = [interpreter, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", ".", package]
    # A package may hold files that are no Python of this version (templates, fixtures): nothing imports those.
    subprocess.run(command, cwd=directory, capture_output=True, check=False)  # noqa: S603


def _settle_times(directory: Path) -> None:
    """Give every file one time and mode, so that equal content makes an equal bundle."""
    for path in directory.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            os.utime(path, (_EPOCH, _EPOCH))


def _code(function: str) -> Iterator[tuple[Path, Path]]:
    """Source file and its place in the bundle: the domain, this function, what functions share."""
    sources = [
        *REPOSITORY.glob("slidr/**/*"),
        *REPOSITORY.glob("functions/*.py"),
        *REPOSITORY.glob("functions/adapters/**/*"),
        *REPOSITORY.glob(f"functions/{function}/**/*"),
    ]
    for source in sorted(set(sources)):
        relative = source.relative_to(REPOSITORY)
        if source.is_file() and not any(Path(part).match(skip) for part in relative.parts for skip in _NOT_CODE):
            yield source, relative


def _code_hash(function: str) -> str:
    digest = hashlib.sha256()
    for source, name in _code(function):
        content = source.read_bytes()
        digest.update(f"{name.as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make every bundle and print its size."""
    parser = argparse.ArgumentParser(prog="python -m infra.bundle", description=__doc__)
    parser.add_argument("--platform", choices=["arm64", "local", "all"], default="all")
    chosen = parser.parse_args(arguments).platform
    architecture, python = machine_runtime()
    platforms = {
        "arm64": platform_of(FunctionSettings(), native=False),
        "local": Platform(architecture=architecture, python=python, native=True),
    }
    for name, platform in platforms.items():
        if chosen in (name, "all"):
            for function in FUNCTIONS:
                made = bundle(function, platform)
                note = (
                    "" if platform.interpreter() else f", no bytecode: python{platform.python} is not on this machine"
                )
                sys.stdout.write(f"{made.relative_to(REPOSITORY)}  {size_mb(made):.1f} MB{note}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
