"""A backtest: what a release trained on the first days of somebody's log would have done on the last.

    plan         which clicks train, which are judged, and why a log will not do
    trial        trains, calibrates, scores the later days
    results      what came of it
    evidence     what made clicks invalid, feature by feature
    drift        what changed between the days that chose thresholds and the later ones
    cautions     the doubts that a statistician would raise

training/report/ writes it down; docs/backtest.md explains it. Nothing here knows AWS.
"""
