"""The parts of `benchmarks/chaos_online.py`: the ground, the faults, the hostile records, the accounts."""
