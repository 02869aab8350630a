"""The machine that a compiled file is for, read from its ELF header."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MACHINES: Final = {"x86_64": 0x3E, "arm64": 0xB7}
"""e_machine by architecture. Source: System V ABI, ELF header; Linux elf.h (EM_X86_64, EM_AARCH64)."""

_MACHINE_OFFSET: Final = 18


def elf_machine(path: Path) -> int | None:
    """The header's e_machine; None where the file is not ELF."""
    with path.open("rb") as file:
        header = file.read(_MACHINE_OFFSET + 2)
    if len(header) < _MACHINE_OFFSET + 2 or not header.startswith(b"\x7fELF"):
        return None
    return int.from_bytes(header[_MACHINE_OFFSET:], "little" if header[5] == 1 else "big")


def foreign_objects(directory: Path, *, architecture: str) -> list[Path]:
    """Shared objects under `directory` that are not ELF for `architecture`, sorted."""
    wanted = MACHINES[architecture]
    objects = sorted(path for path in directory.rglob("*.so*") if path.is_file())
    return [path for path in objects if elf_machine(path) != wanted]
