"""The page of a run: one HTML file that needs nothing else, whatever of the run there was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from functions.daily_loop.run_record import RunRecord
from slidr.guardrails import Result
from slidr.markup import Child, Markup, tag, together

_TOLD_AFTER_S = 0.05
"""States that take less only choose the next one."""
_TITLES = {"promoted": "put a release in force", "stopped": "was stopped", "failed": "could not be done"}


def page(record: RunRecord) -> str:
    """The page as HTML."""
    title = f"SLIDR {record.stage}: the run of {record.day or 'an unknown day'} {_TITLES[record.outcome]}"
    css = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(css)),
    )
    parts = (
        _outcome(record, title),
        _inputs(record),
        _guardrails(record.results),
        _rates(record.evaluation),
        _curves(record),
        _thresholds(record.evaluation),
        _churn(record),
        _steps(record),
    )
    return f"<!doctype html>{tag('html', head, tag('body', *parts), lang='en')}"


def _outcome(record: RunRecord, title: str) -> Markup:
    said: list[Child] = []
    if record.outcome == "promoted":
        said.append(tag("p", f"{record.release} is in force", f", in the place of {record.champion}." if record.champion
                        else ": the first release."))  # fmt: skip
    else:
        said.append(tag("p", tag("span", record.why, class_="bad")))
        said.append(tag("p", f"{record.champion} serves on." if record.champion else "No release is in force."))
    if record.mature:
        said.append(tag("p", f"{record.mature}, a former champion, has matured and passed: it is stable now."))
    if record.profiles:
        said.append(tag("p", f"Profiles: {record.profiles}."))
    quiet = f"Run {record.run or 'unplanned'}, asked for by {record.asked or 'nobody'}. Execution {record.execution}."
    return tag("header", tag("h1", title), tag("div", *said, class_=f"outcome {record.outcome}"),
               tag("p", quiet, class_="quiet"))  # fmt: skip


def _inputs(record: RunRecord) -> Markup:
    told = record.dataset
    if not told:
        return together()
    rows = [
        ["training days", f"{told['first']} to the day before {told['day']}"],
        ["clicks to train on", f"{told['clicks']:,}, {told['purchasing']:,} of them led to a purchase"],
        ["clicks that judge", f"{told['later_clicks']:,} of {told['day']}, {told['later_purchasing']:,} led to one"],
        ["labels", ", ".join(f"{name} {count:,}" for name, count in told["label_rules"].items())],
        ["profiles", f"{told['profiles']:,} keys"],
    ]
    return _section("What it was made from", _table(["", ""], rows))


def _guardrails(results: Mapping[str, Sequence[Result]]) -> Markup:
    every = [(of, result) for of, group in results.items() for result in group]
    if not every:
        return together()
    failed = [one for one in every if not one[1].passed and one[1].severity == "stop"]
    warned = [one for one in every if not one[1].passed and one[1].severity == "warn"]
    passed = [one for one in every if one[1].passed]
    shown: list[Child] = [
        tag(
            "p",
            f"{len(passed):,} of {len(every):,} values within their bounds, {len(failed)} stop, {len(warned)} warn.",
        )
    ]
    for group, style in ((failed, "bad"), (warned, "mind")):
        if group:
            shown.append(tag("ul", [tag("li", f"{of}: {one.says}", class_=style) for of, one in group]))
    rows = [[of, one.name, one.scope, _number(one.value), _bound(one)] for of, one in passed]
    shown.append(tag("details", tag("summary", "Those within their bounds"),
                     _table(["of", "guardrail", "scope", "value", "bound"], rows, numbers=(3,))))  # fmt: skip
    return _section("Guardrails", *shown)


def _rates(evaluation: Mapping[str, Any]) -> Markup:
    if not evaluation:
        return together()
    candidate, champion = evaluation["rates"]["candidate"], evaluation["rates"].get("champion")
    head = ["", "IVR", "FPR", "robotic coverage"]
    rows: list[list[Child]] = []
    for title, of in (("candidate", candidate), ("champion", champion)):
        if of:
            rows.append([f"{title}, all traffic", *(_rate(of["overall"][name]) for name in ("ivr", "fpr", "coverage"))])
    for name, own in sorted(candidate["slices"].items()):
        rows.append([name, *(_rate(own[rate]) for rate in ("ivr", "fpr", "coverage"))])
    auc = evaluation["auc"]
    at = [[name, _percent(one["at_fpr"]), _percent(one["fpr"]), _percent(one["ivr"]), _percent(one["coverage"])]
          for name, one in evaluation["baselines"].items()]  # fmt: skip
    shown: list[Child] = [
        _table(head, rows, numbers=(1, 2, 3)),
        tag("p", f"AUC against the weak labels: {_number(auc['candidate'])}",
            f", the champion's {_number(auc['champion'])}" if auc["champion"] is not None else "",
            f". Certificate: {evaluation['certificate'] or 'none'}."),
    ]  # fmt: skip
    if at:
        shown += [
            tag("h3", "Baselines at the candidate's FPR"),
            _table(["decided by", "asked FPR", "FPR", "IVR", "robotic coverage"], at, numbers=(1, 2, 3, 4)),
            tag("p", "Their thresholds are chosen on the judged clicks, which flatters them; the candidate's "
                "were chosen before.", class_="quiet"),
        ]  # fmt: skip
    return _section(f"On {evaluation['day']}, which no training saw", *shown)


def _curves(record: RunRecord) -> Markup:
    return _section("IVR over FPR on that day", Markup(record.curves)) if record.curves else together()


def _thresholds(evaluation: Mapping[str, Any]) -> Markup:
    if not evaluation:
        return together()
    rows = [
        [name, _number(one["before"]), _number(one["after"])] for name, one in sorted(evaluation["thresholds"].items())
    ]
    return _section("Thresholds", _table(["slice", "champion", "candidate"], rows, numbers=(1, 2)))


def _churn(record: RunRecord) -> Markup:
    told = {f"on {record.evaluation['day']}": record.evaluation["churn"]} if record.evaluation.get("churn") else {}
    told |= {f"in {name}": one["summary"]["churn"] for name, one in record.shadow.items()}
    rows = [
        [when, name, f"{own['clicks']:,}", f"{own['flipped']:,}", _percent(own["flipped"] / max(own["clicks"], 1))]
        for when, slices in told.items()
        for name, own in sorted(slices.items())
    ]
    shown: list[Child] = []
    if rows:
        shown.append(_table(["", "slice", "clicks", "decided otherwise", "share"], rows, numbers=(2, 3, 4)))
    for name, one in record.shadow.items():
        own = one["summary"]["endpoint"]
        shown.append(tag("p", f"{name}: {own['invocations']:,} invocations of the endpoint, {own['failed']:,} failed, "
                         f"p99 {_number(own['p99_ms'])} ms."))  # fmt: skip
    return _section("Verdict churn against the champion", *shown) if shown else together()


def _steps(record: RunRecord) -> Markup:
    if not record.steps:
        return together()
    rows = [[step.name, f"{step.seconds:,.1f}", "" if step.dollars is None else f"{step.dollars:.4f}"]
            for step in record.steps if step.seconds >= _TOLD_AFTER_S]  # fmt: skip
    total = sum(step.seconds for step in record.steps)
    cost = sum(step.dollars or 0.0 for step in record.steps)
    rows.append(["all", f"{total:,.1f}", f"{cost:.4f}"])
    note = "Waiting and an instance's start are in the seconds; dollars are list prices of the jobs' instance, about."
    return _section(
        "Steps", _table(["step", "seconds", "US dollars"], rows, numbers=(1, 2)), tag("p", note, class_="quiet")
    )


def _section(title: str, *children: Child) -> Markup:
    return tag("section", tag("h2", title), *children)


def _table(head: Sequence[str], rows: Iterable[Sequence[Child]], *, numbers: Sequence[int] = ()) -> Markup:
    def cells(kind: str, row: Sequence[Child]) -> list[Markup]:
        return [tag(kind, cell, class_="number" if i in numbers else None) for i, cell in enumerate(row)]

    body = tag("tbody", [tag("tr", cells("td", row)) for row in rows])
    top = tag("thead", tag("tr", cells("th", head))) if any(head) else together()
    return tag("div", tag("table", top, body), class_="scroll")


def _rate(told: Mapping[str, Any]) -> str:
    return f"{_percent(told['value'])} ({told['count']:,} of {told['total']:,})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _bound(result: Result) -> str:
    low, high = result.bound.low, result.bound.high
    ends = [f"from {low:g}" if low is not None else "", f"to {high:g}" if high is not None else ""]
    return " ".join(filter(None, ends))
