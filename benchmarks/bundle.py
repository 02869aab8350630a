"""Size of the Lambda bundles, and a cold import of score_clicks from the local twin of the arm64 bundle.

The bundle for AWS is of arm64 and Python 3.13 and cannot run here. Its local twin is made by the same code from the
same lock, for this machine's interpreter. Each import is a fresh process without site-packages, where only the twin and
what the Lambda runtime has (boto3) can be found. Files are in the page cache: what Lambda takes to fetch a bundle is
not in it.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import Measured
from infra.bundle import FUNCTIONS, SIZE_CEILING_MB, bundle, platform_of, size_mb
from infra.settings import load_stage
from tests.infra.test_bundle import IMPORT_ALONE

FIGURES: Final = {
    "unzipped_mb": "score_clicks, local twin of the arm64 bundle",
    "zipped_mb": "the same, as it is uploaded",
    "cold_import_ms": "importing its handler in a fresh process, median; the interpreter's own start is not in it",
}
FUNCTION: Final = "score_clicks"
ROUNDS: Final = 15

_NUMPY: Final = "sys.path.insert(0, sys.argv[1]); import numpy"


def import_ms(program: str, *arguments: str) -> float:
    """Milliseconds that `program` takes inside a fresh interpreter without site-packages."""
    code = f"import sys, time\n_began = time.perf_counter()\n{program}\nprint((time.perf_counter() - _began) * 1000)"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return float(ended.stdout)


def start_ms() -> float:
    """Milliseconds from starting an interpreter that does nothing to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-S", "-B", "-c", ""], check=True)
    return (time.perf_counter() - began) * 1000


def zipped_mb(directory: Path) -> float:
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(directory.rglob("*")):
                archive.write(path, path.relative_to(directory))
        return file.tell() / 1e6


def measure() -> Measured:
    functions, site = load_stage("local").functions, sysconfig.get_paths()["purelib"]
    aws = platform_of(load_stage("dev").functions, native=False)
    local = platform_of(functions, native=True)
    twins = {function: bundle(function, local) for function in FUNCTIONS}
    contenders: dict[str, Callable[[], float]] = {
        **{name: partial(import_ms, IMPORT_ALONE, str(twin), site, name) for name, twin in twins.items()},
        "numpy": partial(import_ms, _NUMPY, str(twins[FUNCTION])),
        "interpreter": start_ms,
    }
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name in random.sample(list(contenders), k=len(contenders)):
            took[name].append(contenders[name]())
    rows: list[dict[str, Any]] = [
        {
            "bundle": directory.name,
            "unzipped_mb": size_mb(directory),
            "zipped_mb": zipped_mb(directory),
            "ceiling_mb": SIZE_CEILING_MB[function],
            "cold_import_ms": statistics.median(took[function]) if directory == twin else "",
        }
        for function, twin in twins.items()
        for directory in (twin, bundle(function, aws))
    ]
    mine = next(row for row in rows if row["bundle"] == twins[FUNCTION].name)
    imports = took[FUNCTION]
    return Measured(
        figures={name: mine[name] for name in FIGURES},
        spread={"cold_import_ms": (min(imports), max(imports))},
        floors={
            "interpreter_start_and_end_ms": statistics.median(took["interpreter"]),
            "import_numpy_ms": statistics.median(took["numpy"]),
        },
        rows=rows,
        notes=[
            f"the figures are of the local twin ({twins[FUNCTION].name}); the arm64 bundle is weighed, not run",
            f"the arm64 bundle has {'its' if aws.interpreter() else 'no'} bytecode (it needs Python {aws.python} here)",
            f"{ROUNDS} fresh processes of each kind, in shuffled turns; the twin has bytecode, its files are cached",
            "ceilings and forbidden packages are checked whenever a bundle is made, and by tests/infra/test_bundle.py",
        ],
    )
