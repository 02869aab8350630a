"""The counters over a log, compiled: the offline twin of functions/adapters/counters.lua, equal to the integer.

The page that both follow is the docstring of slidr/counters.py. `log` holds what is called from elsewhere; `sharing`
brings the clicks of each key together, `walk` counts them with the state that the cache would hold.
"""

from training.counters_kernel.log import (
    NOTHING_LATER,
    ROWS_A_PART,
    ROWS_A_PIECE,
    EntityCounts,
    LogCounters,
    count,
    event_order,
    pieces,
)

__all__ = [
    "NOTHING_LATER",
    "ROWS_A_PART",
    "ROWS_A_PIECE",
    "EntityCounts",
    "LogCounters",
    "count",
    "event_order",
    "pieces",
]
