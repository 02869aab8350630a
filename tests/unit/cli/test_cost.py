"""The cost model: parts add up, what grows with clicks grows, what runs anyway does not."""

from __future__ import annotations

import dataclasses

import pytest
from typer.testing import CliRunner

from infra.settings import load_stage
from local.cli import app
from local.cost import Assumptions, daily_costs, total

FIXED = {"hourly jobs", "alarms, dashboard", "endpoint", "counter cache", "network"}


def costs(clicks: float, stage: str = "prod") -> dict[str, float]:
    return {line.part: line.dollars_a_day for line in daily_costs(load_stage(stage), clicks)}


def test_hardware_that_waits_costs_the_same_and_the_rest_grows() -> None:
    few, many = costs(1e6), costs(1e7)
    assert {part for part in few if few[part] == many[part]} == FIXED
    assert all(many[part] > few[part] for part in few.keys() - FIXED)


def test_beyond_what_the_least_hardware_bears_it_grows_too() -> None:
    assert costs(1e10)["endpoint"] > costs(1e7)["endpoint"]
    assert costs(1e10)["counter cache"] > costs(1e7)["counter cache"]


def test_an_endpoint_costs_its_instances_for_a_day() -> None:
    assert costs(1e6)["endpoint"] == pytest.approx(2 * 24 * 1.408)


def test_streams_cost_their_hours_and_their_gigabytes() -> None:
    assumed = Assumptions(click_kb=1.0, verdict_kb=0.0, purchases_a_click=0.0)
    stage = load_stage("prod")
    stage = dataclasses.replace(stage, streams=dataclasses.replace(stage.streams, retention_h=24))
    (streams,) = [line for line in daily_costs(stage, 1e6, assumed) if line.part == "streams"]
    assert streams.dollars_a_day == pytest.approx(72 * 0.04 + 1 * 0.08 + 2 * 0.04)


def test_the_command_shows_every_part_and_their_sum() -> None:
    result = CliRunner().invoke(app, ["cost", "--clicks-per-day", "1e6", "--stage", "dev"])
    assert result.exit_code == 0
    lines = daily_costs(load_stage("dev"), 1e6)
    assert all(f"{line.dollars_a_day:,.2f}" in result.output for line in lines)
    assert f"{total(lines):,.2f}" in result.output
