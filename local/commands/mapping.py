"""`slidr map`: propose how a CSV becomes clicks or purchases, ask what it does not tell, and try it."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.markup import escape

from local.console import console, listing
from local.sources.event import Event, Kind
from local.sources.mapped_csv import ID_FIELDS, CsvMapping, MappedCsv, MappingUnusable, checked, mapping_beside
from local.sources.mapping_proposal import Doubt, Sample, as_toml, proposed, sample_of, settled, times_of
from slidr.click import parse_click
from slidr.contract import epoch_ms, is_time_zone
from slidr.errors import InvalidRecord, SlidrError
from slidr.purchase import parse_purchase

_SHOWN: Final = 3
_PERSONAL: Final = frozenset({"user", "session", "ip", "user_agent", "query"})
"""Their examples are shown, but not written: a mapping may be kept and shared."""


class MappingExists(SlidrError):
    """There is a mapping already, which somebody may have edited."""


def map_log(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV with a header; .gz too.")],
    *,
    kind: Annotated[
        Kind | None, typer.Option(help="What its rows are; guessed from the names of the columns otherwise.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where to write the mapping; FILE.map.toml otherwise.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Take the proposal as it is, and ask nothing.")] = False,
    rows: Annotated[int, typer.Option(min=1, help="How many rows to try it on.")] = 1_000,
) -> None:
    """Describe any CSV once, so that it can be sent: which column is what.

    Proposes a mapping from the header and the first rows, shows what would be sent, asks for what the file does not
    tell, writes the mapping with comments, and parses the first rows through the contract: how many pass, and why
    others do not. Nothing is sent. Exit code 1 if no row passes.

    [bold]Examples[/]

      slidr map clicks.csv
      slidr map orders.csv --kind purchase
      slidr map clicks.csv.gz --yes --out clicks.map.toml && slidr send clicks.csv.gz --map clicks.map.toml
    """
    target = out or mapping_beside(file)
    if target.exists() and (yes or not typer.confirm(f"{target} exists. Write it anew?")):
        raise MappingExists(
            f"{target} is there already and is left as it is: remove it, edit it, or name another --out"
        )
    sample = sample_of(file)
    proposal = proposed(sample, kind=kind)
    mapping = proposal.mapping
    _show(mapping, sample, file)
    if yes:
        _refuse_without_times(mapping, file)
        for doubt in proposal.doubts:
            console.print(f"[yellow]?[/] {escape(_taken(mapping, doubt))}")
    elif proposal.doubts:
        mapping = _ask(mapping, proposal.doubts, sample)
        _show(mapping, sample, file)
    if not yes:
        typer.confirm(f"Write {target}?", default=True, abort=True)
    examples = _examples(mapping, sample)
    comments = {field: f"e.g. {', '.join(values)}" for field, values in examples.items() if field not in _PERSONAL}
    comments |= {doubt.field: _taken(mapping, doubt) for doubt in proposal.doubts if yes}
    target.write_text(as_toml(checked(mapping, name=str(file)), comments, log=file.name), encoding="utf-8")
    console.print(f"Wrote {escape(str(target))}: read it, and change what is wrong.")
    if not _show_trial(file, mapping, rows):
        raise typer.Exit(1)
    if mapping.records is Kind.PURCHASE:
        console.print(f"Next: [bold]slidr send CLICKS --purchases {escape(str(file))}[/]")
    else:
        option = "" if out is None else f" --map {out}"
        console.print(f"Next: [bold]slidr send {escape(f'{file}{option}')}[/]")


def _show(mapping: CsvMapping, sample: Sample, file: Path) -> None:
    examples = _examples(mapping, sample)
    table = listing(f"{file.name} as {mapping.kind}s", "field", "from", "as it would be sent")
    if ID_FIELDS[mapping.records] not in mapping.fields:
        table.add_row(ID_FIELDS[mapping.records], "[dim]row and content[/]", "")
    for field, source in mapping.fields.items():
        origin = "[dim]constant[/]" if source.column is None else escape(source.column)
        table.add_row(field, origin, escape(", ".join(examples[field])))
    unused = [name for name in sample.header if name not in {source.column for source in mapping.fields.values()}]
    console.print(table)
    if unused:
        console.print(f"Not used: {escape(', '.join(unused))}")


def _examples(mapping: CsvMapping, sample: Sample) -> dict[str, list[str]]:
    """Up to three different values of each field as they would be sent."""
    found: dict[str, dict[str, None]] = {field: {} for field in mapping.fields}
    for event in MappedCsv(mapping).of_rows(sample.header, iter(sample.rows), name="the sample"):
        record = json.loads(event.payload)
        if isinstance(record, dict):
            for field, values in found.items():
                if field in record and len(values) < _SHOWN:
                    values[str(record[field])[:60]] = None
    return {field: list(values) for field, values in found.items()}


def _taken(mapping: CsvMapping, doubt: Doubt) -> str:
    """What is not known, and what was taken for it."""
    source = mapping.fields[doubt.field]
    taken = {"format": source.format, "zone": source.zone}.get(doubt.about, f"the constant {source.constant!r}")
    return f"{doubt.field}: {doubt.says}; taken: {taken}"


def _refuse_without_times(mapping: CsvMapping, file: Path) -> None:
    if mapping.fields["at"].column is None:
        raise MappingUnusable(f"{file}: a column of event times is required, none looks like one: run without --yes")


def _ask(mapping: CsvMapping, doubts: Sequence[Doubt], sample: Sample) -> CsvMapping:
    """The mapping with every doubt answered; a column that is named for `at` may raise new ones."""
    waiting = list(doubts)
    while waiting:
        doubt = waiting.pop(0)
        console.print(f"[yellow]?[/] {escape(f'{doubt.field}: {doubt.says}.')}")
        mapping = settled(mapping, doubt, _answer(mapping, doubt, sample))
        column = mapping.fields[doubt.field].column
        if doubt.field == "at" and doubt.about == "source" and column is not None:
            source, unsure = times_of(column, sample)
            mapping = msgspec.structs.replace(mapping, fields=mapping.fields | {"at": source})
            waiting = [*unsure, *waiting]
    return mapping


def _answer(mapping: CsvMapping, doubt: Doubt, sample: Sample) -> str:
    """What a person says to a doubt, asked until it can be."""
    source = mapping.fields[doubt.field]
    if doubt.about == "format":
        for number, choice in enumerate(doubt.choices, start=1):
            console.print(f"    {number}  {escape(choice)}")
        ask, default = "  Which one, or a format of strptime", "1" if doubt.choices else None
    elif doubt.about == "zone":
        ask, default = "  Time zone (an IANA name)", source.zone
    elif doubt.field == "at":
        ask, default = "  Which column", None
    else:
        ask, default = "  Which column, or =TEXT for a constant", f"={source.constant}"
    while True:
        said = str(typer.prompt(ask, default=default)).strip()
        if doubt.about == "format":
            return doubt.choices[int(said) - 1] if said in map(str, range(1, len(doubt.choices) + 1)) else said
        if doubt.about == "zone":
            if is_time_zone(said):
                return said
            console.print("  [red]No such time zone[/]; such as Europe/Berlin")
        elif said in sample.header or (doubt.field != "at" and said.startswith("=") and len(said) > 1):
            return said
        else:
            console.print(f"  [red]No such column[/]; there are {escape(', '.join(sample.header))}")


def _show_trial(file: Path, mapping: CsvMapping, rows: int) -> int:
    """Parse the first rows as the deployed system would, and say what came of it; how many passed."""
    chunks = MappedCsv(mapping).read(file, kind=mapping.records)
    events = list(islice((event for chunk in chunks for event in chunk), rows))
    failures = rejects_among(events)
    passed = len(events) - sum(count for count, _, _ in failures.values())
    console.print(f"{passed:,} of the first {len(events):,} rows are valid {mapping.kind}s.")
    for reason, (count, detail, example) in failures.items():
        console.print(f"  [red]{count:,}[/] {reason}: {escape(detail)}, such as {escape(example[:200])}")
    return passed


def rejects_among(events: list[Event]) -> Mapping[str, tuple[int, str, str]]:
    """Why records would be rejected: how many by reason, with the detail and the payload of the first."""
    now_ms, counts, first = epoch_ms(dt.datetime.now(dt.UTC)), Counter[str](), dict[str, tuple[str, str]]()
    for event in events:
        try:
            if event.kind is Kind.CLICK:
                parse_click(event.payload, arrived_ms=now_ms)
            else:
                parse_purchase(event.payload, arrived_ms=now_ms)
        except InvalidRecord as failure:
            counts[failure.reason] += 1
            first.setdefault(failure.reason, (failure.detail, event.payload.decode("utf-8", "replace")))
    return {reason: (count, *first[reason]) for reason, count in counts.most_common()}
