from __future__ import annotations

import re
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from infra import bundle as bundling
from infra.bundle import (
    BUNDLES,
    FORBIDDEN,
    FUNCTIONS,
    REPOSITORY,
    BundleInvalid,
    Platform,
    bundle,
    check,
    packages_directory,
    platform_of,
    size_mb,
)
from infra.constructs.replay_runner import FUNCTIONS as REPLAY_FUNCTIONS
from infra.elf import MACHINES, elf_machine, foreign_objects
from infra.settings import load_stage
from infra.training_stack import FUNCTIONS as LOOP_FUNCTIONS

ARM64 = Platform(architecture="arm64", python="3.13", native=False)
BUILT = sorted(path for path in BUNDLES.glob("*-py3*") if path.is_dir()) if BUNDLES.is_dir() else []


def write_object(path: Path, *, machine: int, byte_order: str = "<") -> Path:
    """A file with the header of an ELF shared object, and no more."""
    data = 1 if byte_order == "<" else 2
    header = b"\x7fELF" + bytes([2, data, 1, 0]) + bytes(8) + struct.pack(f"{byte_order}HH", 3, machine)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + bytes(44))
    return path


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_reads_the_machine_of_an_object_in_either_byte_order(tmp_path: Path, byte_order: str) -> None:
    assert elf_machine(write_object(tmp_path / "a.so", machine=0xB7, byte_order=byte_order)) == MACHINES["arm64"]


def test_what_is_not_elf_has_no_machine(tmp_path: Path) -> None:
    (tmp_path / "short.so").write_bytes(b"\x7fELF")
    (tmp_path / "mach-o.so").write_bytes(b"\xcf\xfa\xed\xfe" + bytes(60))
    assert elf_machine(tmp_path / "short.so") is None
    assert foreign_objects(tmp_path, architecture="arm64") == [tmp_path / "mach-o.so", tmp_path / "short.so"]


def test_refuses_an_object_of_another_machine(tmp_path: Path) -> None:
    write_object(tmp_path / "numpy" / "right.cpython-313-aarch64-linux-gnu.so", machine=MACHINES["arm64"])
    write_object(tmp_path / "numpy.libs" / "wrong.so.0.3", machine=MACHINES["x86_64"])
    with pytest.raises(BundleInvalid, match=r"must be for arm64; 1 are not: numpy\.libs/wrong\.so\.0\.3"):
        check(tmp_path, function="score_clicks", platform=ARM64)


@pytest.mark.parametrize("name", ["boto3", "torch", "pandas"])
def test_refuses_a_package_that_no_function_may_hold(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(BundleInvalid, match=rf"came \['{name}'\]"):
        check(tmp_path, function="score_clicks", platform=ARM64)


def test_refuses_a_bundle_over_its_ceiling(tmp_path: Path) -> None:
    with (tmp_path / "big.bin").open("wb") as file:
        file.truncate(31_000_000)
    with pytest.raises(BundleInvalid, match=r"must stay under 30 MB unzipped, came 31\.0 MB"):
        check(tmp_path, function="prepare_archive", platform=ARM64)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_locks_pin_every_package_with_hashes_and_name_no_index(function: str) -> None:
    text = (REPOSITORY / "functions" / function / "requirements.lock").read_text()
    assert "http" not in text
    assert "--index" not in text
    requirements = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line and not line.startswith("#")]
    assert requirements
    for line in requirements:
        assert re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line
    names = {line.partition("==")[0] for line in requirements}
    assert not {name.replace("-", "_") for name in names} & FORBIDDEN


@pytest.mark.parametrize("function", FUNCTIONS)
def test_locks_hold_the_versions_that_the_tests_run(function: str) -> None:
    pinned = dict(
        re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", (REPOSITORY / "constraints.txt").read_text(), flags=re.MULTILINE)
    )
    expected = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned.items()}
    text = (REPOSITORY / "functions" / function / "requirements.lock").read_text()
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE):
        assert expected.get(name, version) == version, name


@pytest.fixture
def fake_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Packages without pip: one file, and a note of every installation."""
    installed: list[str] = []

    def packages(function: str, platform: Platform, *, output: Path) -> Path:
        target = output / "packages" / f"{platform.name}-0"
        if not target.is_dir():
            installed.append(function)
            target.mkdir(parents=True)
            (target / "dependency.py").write_text("VALUE = 1\n")
        return target

    monkeypatch.setattr(bundling, "_packages", packages)
    return installed


def test_a_change_of_code_makes_the_bundle_anew_but_installs_nothing(
    tmp_path: Path, fake_packages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "module.py"
    source.write_text("VALUE = 1\n")
    monkeypatch.setattr(bundling, "_code", lambda _function: iter([(source, Path("slidr/module.py"))]))
    output = tmp_path / "bundles"
    made = bundle("score_clicks", ARM64, output=output)
    before = (made / "slidr" / "module.py").stat().st_ino
    assert (bundle("score_clicks", ARM64, output=output) / "slidr" / "module.py").stat().st_ino == before
    source.write_text("VALUE = 2\n")
    assert (bundle("score_clicks", ARM64, output=output) / "slidr" / "module.py").read_text() == "VALUE = 2\n"
    assert (made / "dependency.py").read_text() == "VALUE = 1\n"
    assert fake_packages == ["score_clicks"]


def test_a_bundle_has_one_time_and_no_trace_of_how_it_was_made(tmp_path: Path, fake_packages: list[str]) -> None:
    made = bundle("prepare_archive", ARM64, output=tmp_path)
    files = [path for path in made.rglob("*") if path.is_file()]
    assert {path.stat().st_mtime for path in files} == {bundling._EPOCH}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [".lock"]
    names = {path.relative_to(made).as_posix() for path in files}
    assert {"slidr/click.py", "functions/prepare_archive/settings.py"} <= names
    assert not [name for name in names if name.startswith(("functions/score_clicks/", "training/", "infra/", "local/"))]
    assert not [name for name in names if name.endswith((".lock", ".in"))]


def test_carries_bytecode_that_is_never_compiled_again(tmp_path: Path, fake_packages: list[str]) -> None:
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    platform = Platform(architecture="x86_64", python=f"3.{sys.version_info.minor}", native=True)
    made = bundle("prepare_archive", platform, output=tmp_path)
    bytecode = (made / "slidr" / "__pycache__" / f"click.cpython-{version}.pyc").read_bytes()
    assert int.from_bytes(bytecode[4:8], "little") == 0b01, "hash-based, unchecked: see PEP 552"
    assert str(tmp_path).encode() not in bytecode


@pytest.mark.parametrize(("script", "works"), [("echo 3.13", True), ("echo 'not installed' >&2; exit 127", False)])
def test_compiles_for_lambda_only_with_a_python_that_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, *, works: bool
) -> None:
    stand_in = tmp_path / "python3.13"
    stand_in.write_text(f"#!/bin/sh\n{script}\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    bundling._working_interpreter.cache_clear()
    assert bundling._working_interpreter("3.13") == (str(stand_in) if works else None)
    bundling._working_interpreter.cache_clear()


@pytest.mark.skipif(not BUILT, reason="no bundle is built: python -m infra.bundle")
@pytest.mark.parametrize("directory", BUILT, ids=lambda path: path.name)
def test_what_is_built_passes_its_checks(directory: Path) -> None:
    function, _, platform = directory.name.partition("-")
    name, _, version = platform.partition("-py")
    native = name == "local"
    architecture = next(key for key, machine in MACHINES.items() if machine == elf_machine(Path(sys.executable)))
    check(
        directory,
        function=function,
        platform=Platform(
            architecture=architecture if native else name, python=f"{version[0]}.{version[1:]}", native=native
        ),
    )
    assert size_mb(directory) > 1
    assert not [path for path in directory.rglob("*") if path.name in {"RECORD", "INSTALLER", "tests"}]


IMPORT_ALONE = """
import importlib, sys
from importlib.machinery import PathFinder
bundle, site, function, handlers = sys.argv[1:]
allowed = {"boto3", "botocore", "s3transfer", "dateutil", "six", "urllib3"}  # the Lambda runtime has these
class Runtime:
    def find_spec(self, name, path=None, target=None):
        return PathFinder.find_spec(name, path or [site]) if name.partition(".")[0] in allowed else None
sys.path.insert(0, bundle)
sys.meta_path.append(Runtime())
module = importlib.import_module(f"functions.{function}.handler")
assert all(callable(getattr(module, name)) for name in handlers.split())
files = {name: module.__file__ for name, module in sys.modules.items() if getattr(module, "__file__", None)}
assert files["slidr"].startswith(bundle), files["slidr"]
"""


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_handler_imports_from_its_bundle_and_the_runtime_alone(function: str) -> None:
    stage = load_stage("local")
    platform = platform_of(stage.functions, native=True)
    if not packages_directory(function, platform).is_dir():
        pytest.skip("no packages are installed for this machine: python -m infra.bundle --platform local")
    directory = bundle(function, platform)
    several = {"daily_loop": LOOP_FUNCTIONS, "replay": REPLAY_FUNCTIONS}
    handlers = " ".join(several.get(function, ["handler"]))
    arguments = [str(directory), sysconfig.get_paths()["purelib"], function, handlers]
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", IMPORT_ALONE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
