"""`slidr backtest`: what a release of a log's first days would have done on its last, as a page to read."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from local.backtest_log import read_log, simulated_traffic
from local.commands.backfill import log_sources, title_of
from local.commands.options import ClicksPerDay, Hyperparameter, Mapping, Seed, assignments
from local.console import Steps, clicks_bar, console, facts, percent
from slidr.errors import SlidrError

if TYPE_CHECKING:
    from training.backtest.cautions import Caution
    from training.backtest.results import Backtest
    from training.backtest.trial import Log


class ReportExists(SlidrError):
    """There is a file where the report would go, and it is no report."""


def backtest(
    path: Annotated[
        Path | None, typer.Argument(help="A click log, in any format that slidr send reads.", show_default=False)
    ] = None,
    *,
    purchases: Annotated[
        Path | None, typer.Option(help="A file of purchases that goes with PATH, where it holds none itself.")
    ] = None,
    mapping: Mapping = None,
    simulate: Annotated[int | None, typer.Option(min=3, metavar="DAYS", help="Take simulated days instead.")] = None,
    seed: Seed = 7,
    clicks_per_day: ClicksPerDay = 20_000,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The report to write.")] = Path("backtest.html"),
    train_days: Annotated[
        float | None,
        typer.Option(min=0.0, help="Days from the first click on that train; 70% of the clicks otherwise."),
    ] = None,
    window_hours: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="How long after a click a purchase counts; 24, less in a log of less than five days."
        ),
    ] = None,
    fpr_budget: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="Share of the purchasing clicks that may be invalidated.")
    ] = 0.01,
    set_: Hyperparameter = None,
    baselines: Annotated[bool, typer.Option(help="Compare with simpler models.")] = True,
) -> None:
    """What SLIDR would have done with your own log: train on its first days, judge the last, write a report.

    No cloud, no account, nothing is sent or kept but the report: one HTML page with curves, thresholds by slice,
    simpler models at equal false positives, clicks and money by advertiser, and the doubts that remain. It needs
    purchases (orders, installs, sign-ups), for people are told from robots by them.

    [bold]Examples[/]

      slidr backtest clicks.jsonl.gz --purchases orders.jsonl
      slidr backtest talkingdata.csv.gz --out report.html
      slidr backtest shop.csv --map shop.map.toml --train-days 10
      slidr backtest --simulate 14
    """
    if (path is None) == (simulate is None) or (purchases is not None and path is None):
        raise typer.BadParameter("give either the PATH of a log, with its --purchases, or --simulate DAYS")
    _refuse_other_files(out)
    steps, began = Steps(), time.monotonic()
    with steps.step("load the learner"):
        from training.backtest.cautions import cautions_of  # noqa: PLC0415 - torch: seconds, after the arguments
        from training.backtest.plan import BacktestSettings  # noqa: PLC0415
        from training.backtest.trial import TRAINING  # noqa: PLC0415
        from training.backtest.trial import backtest as backtest_log  # noqa: PLC0415
        from training.baselines import BASELINES  # noqa: PLC0415
        from training.hyperparameters import Hyperparameters  # noqa: PLC0415
        from training.report.page import report  # noqa: PLC0415
    settings = BacktestSettings(
        hyperparameters=Hyperparameters.from_strings({"fpr_budget": str(fpr_budget), **assignments(set_ or [])}),
        train_days=train_days,
        window=None if window_hours is None else dt.timedelta(hours=window_hours),
        baselines=tuple(BASELINES) if baselines else (),
    )
    if simulate is None:
        name, (log, rejected) = title_of(path, purchases), _read(steps, path, purchases, mapping)
    else:
        name, rejected = f"{simulate} simulated days", Counter[str]()
        with steps.step(f"simulate {simulate} days"):
            log = _simulated(simulate, seed=seed, clicks_per_day=clicks_per_day)
    result = backtest_log(log, settings, stage=lambda title: steps.step(title, bar=title == TRAINING))
    cautions = cautions_of(result, rejected=rejected.total())
    out.write_text(report(result, cautions, name=name, made=dt.datetime.now(dt.UTC)), encoding="utf-8")
    show_result(result, cautions, rejected, seconds=time.monotonic() - began)
    console.print(f"Report: [bold]{escape(str(out))}[/]")


def _refuse_other_files(out: Path) -> None:
    """Before minutes of work, not after: a report may replace a report, and nothing else."""
    if out.exists() and (out.is_dir() or not out.read_bytes().startswith(b"<!doctype html>")):
        raise ReportExists(f"a new file or an earlier report is required for --out, {out} is neither. Name another.")
    if not out.parent.is_dir():
        raise ReportExists(f"a folder that exists is required for --out, {out.parent} does not. Make it first.")


def _read(steps: Steps, path: Path | None, purchases: Path | None, mapping: Path | None) -> tuple[Log, Counter[str]]:
    with (
        steps.step(f"read {title_of(path, purchases)}", bar=True) as step,
        clicks_bar("reading", total=None, of="records") as bar,
    ):
        log, rejected, repeated = read_log(log_sources(path, purchases, mapping), on_read=bar.advance)
        step.result = (
            f"{len(log.clicks):,} clicks, {len(log.purchases):,} purchases, {rejected.total():,} rejected, "
            f"{repeated:,} came twice"
        )
    return log, rejected


def _simulated(days: int, *, seed: int, clicks_per_day: int) -> Log:
    from local.sources.simulated import FIRST_DAY  # noqa: PLC0415 - the simulator takes 0.4 s to import
    from training.simulator import Traffic  # noqa: PLC0415

    return simulated_traffic(Traffic(seed=seed, start=FIRST_DAY, clicks_per_day=clicks_per_day), days=days)


def show_result(result: Backtest, cautions: tuple[Caution, ...], rejected: Counter[str], *, seconds: float) -> None:
    """The backtest in a few lines."""
    ours, judged = result.overall.realised, result.parts[-1]
    budget = result.settings.hyperparameters.fpr_budget
    rows = [
        ("judged", f"{judged.clicks:,} clicks from {judged.first:%Y-%m-%d %H:%M} to {judged.last:%Y-%m-%d %H:%M} UTC"),
        ("IVR", percent(ours.ivr.rate)),
        ("FPR on purchases", f"{percent(ours.fpr.rate)}, budget {budget:.2%}"),
        ("robotic coverage", percent(ours.coverage.rate)),
        ("certificate", result.certificate.says),
        *((f"rejected: {reason}", f"{count:,}") for reason, count in rejected.most_common()),
        ("duration", f"{seconds:.1f} s"),
    ]
    console.print(facts("Backtest", rows))
    for caution in cautions:
        colour = "red" if caution.grave else "yellow"
        console.print(f"[{colour}]![/] [bold]{escape(caution.title)}[/]: {escape(caution.text)}", soft_wrap=True)
