"""The log formats that are known, and finding out which one a file is in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from local.sources.combined import CombinedLog
from local.sources.compressed import head_of
from local.sources.event import LogFormat, LogUnreadable
from local.sources.jsonl import JsonLines
from local.sources.mapped_csv import MappedCsv, mapping_of, read_mapping
from local.sources.parquet import ParquetRecords
from local.sources.rees46 import REES46
from local.sources.talkingdata import TALKING_DATA

FORMATS: Final[tuple[LogFormat, ...]] = (ParquetRecords(), TALKING_DATA, REES46, JsonLines(), CombinedLog())
"""In the order in which they are asked. A new importer is one more entry."""


def format_of(path: Path, *, mapping: Path | None = None) -> LogFormat:
    """The format of a log: by `mapping`, else by the mapping that stands beside it, else told by its content.

    Raises:
        LogUnreadable: no known format recognises the file; the message lists what each of them expects.
        MappingUnusable: the mapping cannot be used.
    """
    head = head_of(path)
    if not head.strip():
        raise LogUnreadable(f"a log with records is required, came an empty file: {path}")
    described = mapping_of(path, mapping)
    if described is not None:
        return MappedCsv(read_mapping(described))
    for log_format in FORMATS:
        if log_format.recognises(head):
            return log_format
    first = head.partition(b"\n")[0][:120].decode("utf-8", "replace")
    expected = [*((one.name, one.expects) for one in FORMATS), (MappedCsv.name, MappedCsv.expects)]
    known = "\n".join(f"  {name}: {expects}" for name, expects in expected)
    raise LogUnreadable(f"{path} is in no format that is known. It begins: {first!r}\nExpected one of:\n{known}")
