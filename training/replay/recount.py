"""The features of archived clicks, counted anew in the order in which they happened: what full knowledge gives."""

from __future__ import annotations

from typing import Final

import polars as pl

from slidr.features import FEATURE_INDEX, fill_profiles
from training.backfill import WARM_UP, Stretch, StretchFeatures
from training.profiles import profile_matrix
from training.replay.decide import Features, HourRecords

_KNOWN: Final = [FEATURE_INDEX[f"profile.{kind}.known"] for kind in ("ip", "user", "ua")]


class Recount:
    """Hours come in order, those of WARM_UP before the first that matters are passed over."""

    def __init__(self, traffic: pl.DataFrame | None = None, *, profile_days: int = 28) -> None:
        """Counting starts empty.

        Args:
            traffic: of the days before and of the replayed ones, for profiles (training/profiles.py); None for none.
            profile_days: how far profiles look back.
        """
        self._log = StretchFeatures()
        self._past: pl.DataFrame | None = None
        self._number = 0
        self._traffic = traffic
        self._profile_days = profile_days
        self._serving_had_profiles = False

    def pass_over(self, clicks: pl.DataFrame) -> None:
        """Take in an hour whose features nobody needs."""
        if len(clicks):
            self._number += 1
            self._remember(clicks)

    def of(self, clicks: pl.DataFrame, hour: HourRecords) -> Features:
        """The features of an hour's clicks, in the archive's form by (at, click_id).

        Profiles are those as of the start of the click's day; none where serving had none in what it logged in the
        hour: its table was empty then.
        """
        if not len(clicks):
            return Features(click_id=clicks["click_id"], matrix=hour.features[:0])
        past = clicks.clear() if self._past is None else self._past
        matrix = self._log.of(Stretch(number=self._number, clicks=clicks, past=past, repeated=0))
        self._number += 1
        self._remember(clicks)
        if self._traffic is not None and self._profiles_served(hour):
            fill_profiles(matrix, profile_matrix(clicks, self._traffic, history_days=self._profile_days))
        return Features(click_id=clicks["click_id"], matrix=matrix)

    def _remember(self, clicks: pl.DataFrame) -> None:
        known = clicks if self._past is None else pl.concat([self._past, clicks])
        self._past = known.filter(pl.col("at") > clicks["at"][-1] - WARM_UP)

    def _profiles_served(self, hour: HourRecords) -> bool:
        logged = hour.records["has_features"].to_numpy()
        if logged.any():
            self._serving_had_profiles = bool(hour.features[logged][:, _KNOWN].any())
        return self._serving_had_profiles
