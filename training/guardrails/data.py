"""The data guardrails: the newest day against the days before it, before anything is trained on it.

Clean days are 30 simulated ones of 8,000 clicks, on which no bound was set (docs/guardrails.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from slidr.guardrails import ALL, Bound, Guardrail, Result, check
from training.guardrails.comparisons import (
    Days,
    clicks_in_day,
    clicks_in_hour,
    drift,
    feature_varies,
    human_density,
    not_finite,
    nulls,
    purchases_in_hour,
    repeated_clicks,
    robotic_purchases,
    share_in_day,
    share_of_day,
    slice_clicks,
    slice_drift,
    slice_purchases,
)
from training.guardrails.day_summary import DaySummary

DATA: Final[tuple[Guardrail[Days], ...]] = (
    Guardrail(
        name="trailing_days",
        measures="days to compare with",
        bound=Bound(low=7),
        why="a week holds every weekday once",
        severity="warn",
        values=lambda days: {ALL: float(len(days.trailing))},
    ),
    Guardrail(
        name="clicks_in_day",
        measures="clicks of the day / median of the trailing days",
        bound=Bound(low=0.4, high=2.5),
        why="a sale brings 1.8 times the people; clean days: 0.92 to 1.73",
        values=clicks_in_day,
    ),
    Guardrail(
        name="clicks_in_hour",
        measures="clicks of the hour / median of that hour on the trailing days",
        bound=Bound(low=0.25, high=4.0),
        scope="hour",
        why="single robots are bursts in a small hour; clean hours: 0.64 to 2.37",
        values=clicks_in_hour,
    ),
    Guardrail(
        name="purchases_in_day",
        measures="purchasing share of the clicks / that of the trailing days",
        bound=Bound(low=1 / 3, high=3.0),
        why="a sale has 1.5 times as many, days differ by a quarter",
        values=share_in_day(lambda day: day.purchasing),
    ),
    Guardrail(
        name="purchases_in_hour",
        measures="most that the purchasing share of 1, 3 or 6 hours can be / that of those hours, beside the day",
        bound=Bound(low=0.5),
        scope="hour",
        why="hours of one day differ by a fifth, so half of what is usual is beyond that",
        values=purchases_in_hour,
    ),
    Guardrail(
        name="purchases_in_slice",
        measures="most that the purchasing share of the slice can be / that of the slice before, beside the day",
        bound=Bound(low=0.5),
        scope="slice",
        why="as for hours",
        values=slice_purchases,
    ),
    Guardrail(
        name="human_density",
        measures="most that the human share can be in an hour of the local week, trailing days and this one together",
        bound=Bound(low=0.01),
        scope="hour",
        why="below, a few clicks at the cap of the weights speak for the hour; clean hours: 0.040 and more",
        values=human_density,
    ),
    Guardrail(
        name="human_share",
        measures="share of the clicks that are labelled human / that of the trailing days",
        bound=Bound(low=0.4, high=2.5),
        why="it moves with purchases; clean days: 0.90 to 1.36",
        values=share_in_day(lambda day: sum(day.humans_by_hour_of_week)),
    ),
    Guardrail(
        name="robotic_purchases",
        measures="least that the share of purchasing clicks in robotic sessions can be / that of the trailing days",
        bound=Bound(high=2.0),
        why="clean days: at most 0.72, as chance is given its due",
        values=robotic_purchases,
    ),
    Guardrail(
        name="contradicted_labels",
        measures="purchasing clicks that are labelled non-human",
        bound=Bound(high=0),
        why="the label's first rule",
        values=lambda days: {ALL: float(days.today.contradicted)},
    ),
    Guardrail(
        name="immature_rows",
        measures="share of the rows that are younger than the attribution window",
        bound=Bound(high=0.0),
        why="only days that are mature are compared and trained on",
        values=share_of_day(lambda day: day.immature, lambda day: day.clicks),
    ),
    Guardrail(
        name="slice_clicks",
        measures="the slice's share of the clicks / that on the trailing days",
        bound=Bound(low=0.25, high=4.0),
        scope="slice",
        why="offices rest at weekends; clean slices that are no newcomers: 0.80 to 1.26",
        values=slice_clicks,
    ),
    Guardrail(
        name="drift",
        measures="stability index of the feature, this day against the trailing days",
        bound=Bound(high=0.5),
        scope="feature",
        why="0.25 says that a feature moved, and a sale moves some by 0.31",
        values=drift,
    ),
    Guardrail(
        name="drift_in_slice",
        measures="the largest stability index of the slice's features",
        bound=Bound(high=1.5),
        scope="slice",
        why="the worst of 72 features in a small slice; clean slices: at most 1.26",
        values=slice_drift,
    ),
    Guardrail(
        name="feature_varies",
        measures="most that the share of clicks off the feature's usual bin can be / that on the trailing days",
        bound=Bound(low=0.1),
        scope="feature",
        why="a feature that stands still has 0; rare ones that drift cannot see are seen here",
        values=feature_varies,
    ),
    Guardrail(
        name="features_not_finite",
        measures="values of the feature that are no finite number",
        bound=Bound(high=0),
        scope="feature",
        why="serving's features are finite by contract",
        values=not_finite,
    ),
    Guardrail(
        name="nulls",
        measures="share of the rows in which the column is null, less that on the trailing days",
        bound=Bound(high=0.2),
        scope="column",
        why="who shows no user differs from day to day; clean days: at most 0.04",
        values=nulls,
    ),
    Guardrail(
        name="repeated_rows",
        measures="rows beyond the first of their click id",
        bound=Bound(high=0),
        why="a click counts once however often it was delivered",
        values=lambda days: {ALL: float(days.today.repeated_rows)},
    ),
    Guardrail(
        name="repeated_clicks",
        measures="deliveries in the hour that are no first ones",
        bound=Bound(high=0.1),
        scope="hour",
        why="a retried batch repeats some records; an hour that was delivered twice shows 0.5",
        values=repeated_clicks,
    ),
    Guardrail(
        name="repeated_orders",
        measures="deliveries of purchases that are no first ones",
        bound=Bound(high=0.1),
        why="as for clicks, over the day: purchases are few",
        values=share_of_day(lambda day: day.repeated_orders, lambda day: day.orders),
    ),
    Guardrail(
        name="late_clicks",
        measures="share of the clicks that arrived more than 10 minutes after they happened",
        bound=Bound(high=0.05),
        why="the stream is seconds behind; more are an outage made good, or a clock that is wrong",
        values=share_of_day(lambda day: day.late_clicks, lambda day: sum(day.delivered_by_hour)),
    ),
    Guardrail(
        name="late_orders",
        measures="share of the purchases that arrived more than an hour after they happened",
        bound=Bound(high=0.05),
        why="an order that comes after its label was made counts as none",
        values=share_of_day(lambda day: day.late_orders, lambda day: day.orders),
    ),
)


def data_guardrails(today: DaySummary, trailing: Sequence[DaySummary]) -> tuple[Result, ...]:
    """Every data guardrail's results; see `stopped_by`.

    Args:
        today: the newest day of the training set.
        trailing: the days before it, as they were summarised then; a week or more, LEAST_DAYS at least.
    """
    return check(DATA, Days(today=today, trailing=tuple(trailing)))
