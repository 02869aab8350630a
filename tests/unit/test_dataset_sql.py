"""The dataset in SQL against the oracle in Python: training/labels.py on random histories."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import polars as pl
import pytest
import sqlglot
from duckdb import DuckDBPyConnection
from polars.testing import assert_frame_equal

from slidr.features import FEATURE_COUNT, FEATURE_NAMES, SPEC_HASH, local_minute_of_week
from training.dataset import ROW_COLUMNS, busiest_hour, read_dataset
from training.dataset_sql.accounts import rfm_scores as rfm_scores_sql
from training.dataset_sql.attribution import purchased_clicks
from training.dataset_sql.duckdb_run import Written, connection, open_lake, write_dataset_files
from training.dataset_sql.tables import Lake, Span, with_at_ms
from training.dataset_sql.text import ATHENA_LIMIT, cells_statement, rows_statement, unload, weights_of
from training.labels import LabelRule, RfmCuts, attribute, label, rfm_scores
from training.weights import SCHEME, weights_of_rows

START = dt.datetime(2026, 3, 27, tzinfo=dt.UTC)  # Europe turns its clocks on the 29th
END = START + dt.timedelta(days=3)
SPAN = Span(start=START, end=END, until=END)
INSTANT = pl.Datetime("ms", "UTC")
HISTORIES = 40


def any_log(seed: int, *, worlds: int = HISTORIES) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Clicks and purchases of many small worlds that share no token: ties, nulls, whole hours, several purchases."""
    rng = np.random.default_rng(seed)
    clicks, purchases = [], []

    def one(world: int, *names: str | None) -> str | None:
        name = names[rng.integers(len(names))]
        return None if name is None else f"{name}{world}"

    def moment(hours: int) -> dt.datetime:
        at = START + dt.timedelta(minutes=30 * int(rng.integers(0, 2 * hours)))
        return at + dt.timedelta(milliseconds=int(rng.choice([0, 0, 0, 1, 999, 59_999])))

    for world in range(worlds):
        for i in rng.permutation(int(rng.integers(1, 60))):
            clicks += [
                {
                    "click_id": f"c{world}-{i:02}", "at": moment(72), "user_token": one(world, "u", "v", "w", None),
                    "session_token": one(world, "s", "t", None), "advertiser": one(world, "x", "y"),
                    "ad": one(world, "i", "j", None), "givt": bool(rng.random() < 0.1),
                    "device": ["desktop", "mobile"][rng.integers(2)], "logged_in": bool(rng.random() < 0.5),
                    "placement": one(world, "top", None), "marketplace": "de",
                    "time_zone": ["Europe/Berlin", "Asia/Kathmandu", "UTC", "America/St_Johns"][rng.integers(4)],
                }
            ]  # fmt: skip
        for i in range(int(rng.integers(0, 12))):
            purchases += [
                {
                    "order_id": f"o{world}-{i}", "at": moment(80), "user_token": one(world, "u", "v", None),
                    "session_token": one(world, "s", "t", None), "advertiser": one(world, "x", "y", None),
                    "item": one(world, "i", "j", None), "amount_micros": int(rng.integers(0, 4)) * 500_000,
                    "currency": ["USD", "EUR", "XXX"][rng.integers(3)],
                    "click_id": [None, None, f"c{world}-01", "unknown"][rng.integers(4)],
                }
            ]  # fmt: skip
    text = dict.fromkeys(
        ("user_token", "session_token", "ad", "placement", "advertiser", "item", "click_id"), pl.String
    )
    orders = pl.DataFrame(purchases, schema_overrides={"at": INSTANT, **text}, infer_schema_length=None)
    free = pl.when(pl.col("currency") == "XXX").then(0).otherwise("amount_micros")
    return (
        pl.DataFrame(clicks, schema_overrides={"at": INSTANT, **text}, infer_schema_length=None),
        orders.with_columns(amount_micros=free),
    )


def any_verdicts(clicks: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    """One first original a click: features that name the click's row in their first number."""
    rng = np.random.default_rng(seed)
    features = rng.gamma(0.5, 3.0, (len(clicks), FEATURE_COUNT)).astype(np.float32).astype(np.float64)
    features[:, 0] = np.arange(len(clicks))
    return clicks.select(
        "click_id", "at", "givt",
        kind=pl.lit("original"),
        decided_at=pl.col("at") + pl.duration(seconds=1),
        reasons=pl.lit([], dtype=pl.List(pl.String)),
        feature_spec=pl.lit(SPEC_HASH),
        features=pl.Series(features.tolist(), dtype=pl.List(pl.Float64)),
    )  # fmt: skip


def later(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Redelivered: decided again a moment later, when the counters had moved."""
    return verdicts.with_columns(pl.col("decided_at") + pl.duration(milliseconds=1))


def archived(frame: pl.DataFrame, folder: Path, *, delay: int = 1) -> list[Path]:
    """The lake's files: partitioned by the event's UTC hour, times without a zone, a stated delay in arrival."""
    if "arrived_at" not in frame.columns:
        frame = frame.with_columns(arrived_at=pl.col("at") + pl.duration(seconds=delay))
    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    plain = frame.with_columns(pl.col(times).dt.replace_time_zone(None))
    paths = []
    for (date, hour), part in plain.group_by(date=pl.col("at").dt.date(), hour=pl.col("at").dt.hour() // 12 * 12):
        path = folder / f"date={date}" / f"hour={hour:02}" / f"part-{delay}-{len(paths)}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_parquet(path)
        paths.append(path)
    return paths


@pytest.fixture
def con(tmp_path: Path) -> Iterator[DuckDBPyConnection]:
    with connection(tmp_path, memory="500MB", threads=1) as con:
        yield con


def any_lake(
    con: DuckDBPyConnection, folder: Path, clicks: pl.DataFrame, purchases: pl.DataFrame, *verdicts: pl.DataFrame
) -> Lake:
    logged = pl.concat(verdicts, how="diagonal") if verdicts else any_verdicts(clicks)
    return open_lake(
        con,
        {
            "clicks": archived(clicks, folder / "clicks"),
            "purchases": archived(purchases, folder / "purchases"),
            "verdicts": archived(logged, folder / "verdicts"),
        },
    )


def run(con: DuckDBPyConnection, expression: Any) -> pl.DataFrame:
    return con.sql(str(ibis.to_sql(expression, dialect="duckdb"))).pl()


def written(con: DuckDBPyConnection, lake: Lake, folder: Path, span: Span = SPAN, **options: Any) -> pl.DataFrame:
    write_dataset_files(con, lake, span, folder / "out", **options)
    return read_dataset(folder / "out")


def expected_rows(clicks: pl.DataFrame, purchases: pl.DataFrame, span: Span = SPAN) -> pl.DataFrame:
    """What the Python of the recomputing route says of the same log."""
    found = label(clicks, purchases, until=span.until, window=span.window, rfm_high=span.rfm_high,
                  rfm_cuts=span.rfm_cuts)  # fmt: skip
    minutes = local_minute_of_week(clicks["at"].to_physical().to_numpy(), clicks["time_zone"].to_list())
    rows = clicks.with_columns(
        label=pl.Series(found.label, dtype=pl.Int8),
        rule=pl.Series(found.rule.tolist(), dtype=pl.String),
        purchased=pl.Series(found.purchased),
        hour_of_week=pl.Series(minutes // 60).cast(pl.Int64),
        session_clicks_1h=pl.Series(busiest_hour(clicks)),
    )
    return (
        rows.filter((pl.col("at") >= span.start) & (pl.col("at") < span.end)).select(ROW_COLUMNS).sort("at", "click_id")
    )


@dataclass(frozen=True)
class MessyLake:
    """A lake with all that goes wrong, its dataset as files, and what should be in it."""

    files: dict[str, list[Path]]
    clicks: pl.DataFrame
    purchases: pl.DataFrame
    features: pl.DataFrame
    """click_id, features: of the clicks that should be rows."""
    out: Path
    facts: Written


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> MessyLake:
    folder = tmp_path_factory.mktemp("messy")
    clicks, purchases = any_log(11)
    first, others = any_verdicts(clicks), any_verdicts(clicks, seed=1)
    log = [
        others.with_columns(kind=pl.lit("correction"), decided_at=pl.col("at")),
        first[:20].with_columns(features=pl.lit(None, dtype=pl.List(pl.Float64))),
        later(others[:20:2]),
        first[20:40].with_columns(feature_spec=pl.lit("another")),
        first[40:80].with_columns(reasons=pl.lit(["backfilled"])),
        others[60:80],
        first[80:100].with_columns(givt=pl.lit(value=True)),
        first[100:],
        first[100::5],
        later(others[80::2]),
        others[80::3].with_columns(decided_at=pl.col("at"), reasons=pl.lit(["backfilled"])),
    ]
    rows = pl.concat([first[40:60], others[60:80], first[80:]])
    arrived = clicks.with_columns(arrived_at=pl.col("at") + pl.duration(seconds=1))
    again = arrived[::3].with_columns(
        pl.col("arrived_at") + pl.duration(hours=2), user_token=pl.lit("nobody"), device=pl.lit("tablet")
    )
    orders = purchases.with_columns(arrived_at=pl.col("at") + pl.duration(seconds=1))
    moved = orders[::2].with_columns(pl.col("arrived_at", "at") + pl.duration(seconds=9), user_token=pl.lit("nobody"))
    files = {
        "clicks": archived(pl.concat([again, arrived, arrived[:40]]), folder / "clicks"),
        "purchases": archived(pl.concat([moved, orders, orders[:9]]), folder / "purchases"),
        "verdicts": archived(pl.concat(log, how="diagonal"), folder / "verdicts"),
    }
    with connection(folder, memory="500MB", threads=1) as con:
        facts = write_dataset_files(con, open_lake(con, files), SPAN, folder / "out")
    listed = pl.col("click_id").is_in(clicks["click_id"][80:100].implode())  # only the verdicts say so
    clicks = clicks.with_columns(pl.col("givt") | listed)
    return MessyLake(files, clicks, purchases, rows.select("click_id", "features"), folder / "out", facts)


def messy_lake(con: DuckDBPyConnection, messy: MessyLake) -> Lake:
    return open_lake(con, messy.files)


def rows_of(clicks: pl.DataFrame, messy: MessyLake) -> pl.DataFrame:
    return clicks.join(messy.features, on="click_id", how="semi")


def test_rows_are_those_of_the_python_route(messy: MessyLake) -> None:
    expected = rows_of(expected_rows(messy.clicks, messy.purchases), messy)
    assert set(expected["rule"]) == set(LabelRule)
    assert_frame_equal(read_dataset(messy.out).select(ROW_COLUMNS), expected)
    assert messy.facts.clicks == len(expected)
    assert messy.facts.purchasing == expected["purchased"].sum()


def test_features_are_those_of_the_first_original_to_the_bit(messy: MessyLake) -> None:
    rows = read_dataset(messy.out)
    expected = rows.select("click_id").join(messy.features, on="click_id", how="left", maintain_order="left")
    assert np.array_equal(rows.select(FEATURE_NAMES).to_numpy(), np.array(expected["features"].to_list(), np.float32))


def test_weights_balance_the_rows_that_may_train(messy: MessyLake) -> None:
    rows = read_all(messy.out)
    out = pl.col("rule").is_in([LabelRule.GIVT.value, LabelRule.IMMATURE.value])
    kept = rows.filter(~out)
    columns = (kept[name].to_numpy() for name in ("hour_of_week", "logged_in", "label"))
    np.testing.assert_allclose(kept["weight"], weights_of_rows(*columns, scheme=SCHEME), rtol=1e-6)
    assert set(rows.filter(out)["weight"]) == {0.0}
    assert messy.facts.trainable == len(kept)
    assert 1 < messy.facts.effective_sample_size < len(kept)


def read_all(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in folder.iterdir()]).sort("at", "click_id")


def test_rows_of_some_days_know_what_happened_around_them(
    messy: MessyLake, con: DuckDBPyConnection, tmp_path: Path
) -> None:
    span = Span(start=START + dt.timedelta(days=1), end=START + dt.timedelta(days=2), until=END, rfm_high=9,
                rfm_cuts=RfmCuts(), window=dt.timedelta(hours=6))  # fmt: skip
    write_dataset_files(con, messy_lake(con, messy), span, tmp_path, part=dt.timedelta(hours=13))
    rows = read_dataset(tmp_path).select(ROW_COLUMNS)
    # A session is looked at within a window of the span only: these began long before.
    apart = pl.exclude("session_clicks_1h")
    expected = rows_of(expected_rows(messy.clicks, messy.purchases, span), messy)
    assert set(expected["rule"]) == {"purchase", "rfm", "no_evidence", "givt"}
    assert_frame_equal(rows.select(apart), expected.select(apart))


def test_purchases_go_to_the_same_clicks_as_in_python_on_random_histories(
    con: DuckDBPyConnection, tmp_path: Path
) -> None:
    clicks, purchases = any_log(0, worlds=250)
    lake = any_lake(con, tmp_path, clicks, purchases)
    rows = attribute(clicks, purchases)
    expected = set(clicks["click_id"].gather(rows[rows >= 0]))
    assert len(expected) > 250
    span = replace(SPAN, until=END + dt.timedelta(days=1))
    orders, ours = with_at_ms(lake.purchases), with_at_ms(lake.clicks)
    assert set(run(con, purchased_clicks(ours, orders, span))["click_id"]) == expected


@pytest.mark.parametrize("cuts", [None, RfmCuts(recency_days=(3, 2, 1, 0.5), monetary=(0.5, 1, 2, 3))])
def test_accounts_have_the_same_rfm_as_in_python(cuts: RfmCuts | None, con: DuckDBPyConnection, tmp_path: Path) -> None:
    clicks, purchases = any_log(5)
    lake = any_lake(con, tmp_path, clicks, purchases)
    found = run(con, rfm_scores_sql(with_at_ms(lake.purchases), replace(SPAN, rfm_cuts=cuts)))
    expected = rfm_scores(purchases, until=SPAN.until, cuts=cuts)
    assert expected["rfm"].n_unique() > 5
    assert_frame_equal(found, expected, check_row_order=False, check_column_order=False, check_dtypes=False)


def test_the_trino_text_gives_the_same_rows_where_it_can_be_run(
    messy: MessyLake, con: DuckDBPyConnection, tmp_path: Path
) -> None:
    """One statement there, parts here. Translated back to DuckDB: that proves what it says, not that Trino takes it."""
    messy_lake(con, messy)
    for table in ("clicks", "verdicts", "purchases"):  # the lake's tables have columns that we do not read
        con.execute(f"ALTER VIEW {table} RENAME TO known_{table}")
        con.execute(f"CREATE VIEW {table} AS SELECT 7 AS version, * FROM known_{table}")  # noqa: S608
    zones = list(messy.clicks["time_zone"].unique())
    con.execute("DROP TABLE zone_offsets; DROP TABLE cell_weights")  # the text must bring its own
    run_text(con, cells_statement(SPAN, dialect="trino", zones=zones)).write_csv(tmp_path / "cells.csv")
    weights = weights_of(tmp_path / "cells.csv", scheme=SCHEME)
    text = rows_statement(SPAN, dialect="trino", zones=zones, weights=weights)
    assert_frame_equal(
        run_text(con, text).sort("at", "click_id"), read_all(messy.out), check_dtypes=False, rel_tol=1e-6
    )


def run_text(con: DuckDBPyConnection, text: str) -> pl.DataFrame:
    (translated,) = sqlglot.transpile(text, read="trino", write="duckdb")
    return con.sql(translated).pl()


@pytest.fixture(scope="module")
def trino_text() -> str:
    return rows_statement(replace(SPAN, orders_from=START - dt.timedelta(days=20)), dialect="trino", weights=())


def test_the_trino_text_names_the_tables_columns_and_partitions(trino_text: str) -> None:
    tree = sqlglot.parse_one(trino_text, read="trino")
    defined = {cte.alias for cte in tree.find_all(sqlglot.exp.CTE)}
    scans = [table for table in tree.find_all(sqlglot.exp.Table) if table.name not in defined]
    assert {table.name for table in scans} == {"clicks", "verdicts", "purchases"}
    assert tree.named_selects == [*ROW_COLUMNS, "weight", *FEATURE_NAMES]
    for scan in scans:  # each reads its dates and no others
        where = scan.parent_select.args.get("where")
        assert where is not None, scan.parent_select.sql(dialect="trino")[:300]
        assert """"date" BETWEEN '2026-03-""" in where.sql(dialect="trino")
    assert len(unload(trino_text, "s3://lake/training/")) < ATHENA_LIMIT


def test_the_trino_text_uses_no_word_that_trino_lacks(trino_text: str) -> None:
    """The parser reads more than Trino does, so that parsing alone would not find these."""
    words = ("ASOF", "ANTI JOIN", "SEMI JOIN", "QUALIFY", "INTERVAL", "LIST_", "EPOCH", "STRFTIME", "MEDIAN", "::")
    assert [word for word in words if word in trino_text.upper()] == []
