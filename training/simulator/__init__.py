"""Simulated ad traffic with known truth: people and robots, seeded, day by day (docs/simulator.md)."""

from training.simulator.events import Events
from training.simulator.traffic import SimulatedDay, Traffic

__all__ = ["Events", "SimulatedDay", "Traffic"]
