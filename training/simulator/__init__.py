"""Simulated ad traffic with known truth: people and robots, seeded, day by day (docs/simulator.md)."""

from training.simulator.traffic import SimulatedDay, Traffic

__all__ = ["SimulatedDay", "Traffic"]
