"""Train a release: read the rows, split them by time, fit the network, choose thresholds, write the bundle.

    python -m training.train --data build/dataset --model build/model

The container's `train` calls `main` with SageMaker's channels and hyperparameters; the channel is named "training".
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]

from slidr.features import FEATURE_NAMES, SPEC_HASH
from slidr.givt import packaged_crawlers
from slidr.metrics import rate
from slidr.release import Release
from training.artifact import weights_sha256, write_manifest, write_release
from training.dataset import feature_matrix, read_dataset
from training.expected_ivr import expected_ivr, expected_ivr_by_slice
from training.hyperparameters import Hyperparameters
from training.labels import LabelRule, UnusableTrainingData
from training.mlp_weights import Floats, MlpWeights, save_weights, standardisation
from training.model import Mlp
from training.release_thresholds import choose_thresholds, invalidated, told, told_rate
from training.scoring import open_scorer
from training.slice_names import slice_names
from training.stopping import mean_ivr
from training.weights import effective_sample_size, weights_of_rows

log = logging.getLogger("slidr.train")

CHANNEL: Final = "training"
LISTS: Final = "crawlers"
"""Name of the crawler list in `Release.lists`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Rows by time: none of a part is older than any of the part before it. Every part in time order."""

    train: pl.DataFrame
    validation: pl.DataFrame
    calibration: pl.DataFrame
    later: pl.DataFrame
    """Validation and calibration, crawlers included: what the expected IVR is measured on."""

    @property
    def calibrates(self) -> NDArray[np.bool_]:
        """Which of the later rows calibrate, crawlers of that time included, shape (later rows,)."""
        first = self.later["click_id"].index_of(self.calibration["click_id"][0])
        return np.arange(len(self.later)) >= (first or 0)


def main(channels: Mapping[str, Path], model_dir: Path, hyperparameters: Mapping[str, str]) -> str:
    """Train on the rows of the channel "training" and write a model directory; returns the release's id.

    Args:
        channels: input directories by name.
        model_dir: gets manifest.json and releases/<id>/.
        hyperparameters: strings, see Hyperparameters.

    Raises:
        HyperparameterInvalid: see Hyperparameters.
        UnusableTrainingData: no channel, no rows of one label, no purchasing click to calibrate on.
        CalibrationInfeasible: lists or coverage floors cost more than the false-positive budget.
        CalibrationInexact: the paper form was asked for and its solver did not reach an optimum.
        FeatureMismatch: the rows were built with another feature spec.
    """
    chosen = Hyperparameters.from_strings(hyperparameters)
    if CHANNEL not in channels:
        raise UnusableTrainingData(f"a channel named {CHANNEL!r} is required, came {sorted(channels)}.")
    torch.set_num_threads(chosen.threads)
    rows = read_dataset(channels[CHANNEL])
    split = split_by_time(rows, chosen)
    provenance = _provenance(rows, split, chosen)
    del rows  # a third of all memory, and nothing below looks at it

    if chosen.shuffle_labels:
        split = with_shuffled_labels(split, seed=chosen.seed)

    row_weights = sample_weights(split.train, chosen)
    weights = fit(split, row_weights, chosen)

    # Thresholds are chosen on the scores that serving will give, to the bit: by the same scorer.
    scores = open_scorer(weights, "cpu").score(feature_matrix(split.later))
    newest = split.calibrates
    chosen_thresholds = choose_thresholds(split.later.filter(newest), scores[newest], chosen)
    thresholds = chosen_thresholds.thresholds
    invalid = invalidated(split.later, scores, thresholds, chosen.slices.columns)
    crawlers = packaged_crawlers()
    payload = save_weights(weights)
    release = Release(
        weights_sha256=weights_sha256(payload),
        feature_spec=SPEC_HASH,
        slices=chosen.slices,
        thresholds=thresholds,
        lists={LISTS: crawlers.sha256},
        expected_ivr=expected_ivr(invalid, split.later["hour_of_week"].to_numpy()),
        expected_ivr_by_slice=expected_ivr_by_slice(
            invalid, split.later["hour_of_week"].to_numpy(), slice_names(split.later, chosen.slices.columns).to_list()
        ),
    )
    evidence = {
        **provenance,
        "effective_sample_size": effective_sample_size(row_weights),
        "calibration": told(chosen_thresholds),
        "calibration_fpr": told_rate(chosen_thresholds.overall.fpr),
        "later_ivr": told_rate(rate(invalid)),
    }
    release_id = write_release(model_dir, release=release, weights=payload, evidence=evidence)
    write_manifest(model_dir, champion=release_id)
    fpr = chosen_thresholds.overall.fpr
    log.info(
        "release %s written: %d slices, FPR %.2f%% [%.2f%%, %.2f%%] on %d purchasing clicks that chose nothing, %s",
        *(release_id, len(thresholds.by_slice), 100 * fpr.value, *(100 * end for end in fpr.interval), fpr.total),
        chosen_thresholds.certificate.says,
    )
    return release_id


def split_by_time(rows: pl.DataFrame, chosen: Hyperparameters) -> Split:
    """The oldest rows train, later ones stop the training, the latest calibrate.

    What the crawler list names, and what is too young for its label, is in none of the three.

    Raises:
        UnusableTrainingData: too few mature rows for three parts.
    """
    rows = rows.filter(pl.col("rule") != LabelRule.IMMATURE.value).sort("at", "click_id")
    usable = rows.filter(pl.col("rule") != LabelRule.GIVT.value)
    train_end = int(len(usable) * (1.0 - chosen.validation_share - chosen.calibration_share))
    validation_end = int(len(usable) * (1.0 - chosen.calibration_share))
    if not 0 < train_end < validation_end < len(usable):
        raise UnusableTrainingData(
            f"mature rows for training, validation and calibration are required, came {len(usable)} rows. "
            "Take more days, or wait until the attribution window of the first ones has passed."
        )
    first_later = usable["at"][train_end]
    return Split(
        train=usable[:train_end],
        validation=usable[train_end:validation_end],
        calibration=usable[validation_end:],
        later=rows.filter(pl.col("at") >= first_later),
    )


def with_shuffled_labels(split: Split, *, seed: int) -> Split:
    """The same rows, but nothing to learn in them: labels and purchases shuffled where they train or stop training.

    Calibration stays as it is, so that a model made from this is judged at the same false-positive rate.
    """
    shuffled = pl.col("label", "purchased").shuffle(seed=seed)
    return replace(split, train=split.train.with_columns(shuffled), validation=split.validation.with_columns(shuffled))


def fit(split: Split, weights: Floats, chosen: Hyperparameters) -> MlpWeights:
    """The network's weights after training on `split.train`, stopped early by `split.validation`.

    Equal inputs give equal weights, to the bit, on one machine with one number of threads.

    Args:
        split: rows by time.
        weights: of the training rows, float32, shape (clicks,).
        chosen: hyperparameters.
    """
    raw = feature_matrix(split.train)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mixed = chosen.precision == "mixed" or (chosen.precision == "auto" and multiplies_bfloat16(device))
    mean, scale = standardisation(raw)
    if not chosen.clock:
        scale[[name.startswith("time.") for name in FEATURE_NAMES]] = 0.0  # as if they had been constant
    net = Mlp(mean, scale, seed=chosen.seed).to(device)
    labels = split.train["label"].to_numpy().astype(np.float32)
    purchased_later = split.validation["purchased"].to_numpy()
    with torch.no_grad():  # everything stays in memory, standardised once: the epochs only index into it
        x = net.standardise(torch.from_numpy(raw).to(device))  # (clicks, features)
        del raw
        x_later = net.standardise(torch.from_numpy(feature_matrix(split.validation)).to(device))
    y, w = torch.from_numpy(labels).to(device), torch.from_numpy(weights).to(device)  # (clicks,)

    optimiser = optimiser_of(net, chosen)
    steps = chosen.epochs * math.ceil(len(x) / chosen.batch_rows)
    warm_up = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )
    order = torch.Generator().manual_seed(chosen.seed)
    best_ivr, best, waited = -1.0, net.to_weights(), 0
    bar = tqdm(total=chosen.epochs, desc="training", unit="epoch", disable=not sys.stderr.isatty())
    for epoch in range(chosen.epochs):
        batches = torch.split(torch.randperm(len(x), generator=order).to(device), chosen.batch_rows)
        loss = run_epoch(net, optimiser, schedule, (x, y, w), batches, mixed=mixed)
        with torch.no_grad():
            ivr = mean_ivr(torch.sigmoid(net.from_standardised(x_later)).cpu().numpy(), purchased_later)
        if ivr > best_ivr:
            best_ivr, best, waited = ivr, net.to_weights(), 0
        else:
            waited += 1
        bar.update()
        bar.set_postfix(loss=f"{loss:.4f}", ivr=f"{ivr:.4f}")
        if bar.disable:
            log.info("epoch %d: loss %.4f, validation IVR at small FPR %.4f", epoch + 1, loss, ivr)
        if waited >= chosen.patience:
            break
    bar.close()
    return best


def run_epoch(
    net: Mlp,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    rows: tuple[Tensor, Tensor, Tensor],
    batches: Sequence[Tensor],
    *,
    mixed: bool,
) -> float:
    """Take a step for each batch; returns the mean loss.

    Args:
        net: on the device of the rows.
        optimiser: of its parameters.
        schedule: of the learning rate, moved on after each step.
        rows: standardised features, shape (clicks, features), labels and sample weights, shape (clicks,).
        batches: numbers of the rows in each, together all of them.
        mixed: whether the layers multiply in bfloat16; weights, loss and steps are float32 all the same.
    """
    x, y, w = rows
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for batch in batches:
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=mixed):
            logits = net.from_standardised(x[batch])
        each = nn.functional.binary_cross_entropy_with_logits(logits.float(), y[batch], reduction="none")  # (clicks,)
        loss = (each * w[batch]).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        total += loss.detach() * len(batch)  # stays on the device: no step waits for it
    return float(total) / len(x)


def optimiser_of(net: Mlp, chosen: Hyperparameters) -> torch.optim.Optimizer:
    """AdamW, with L2 on the weights of the two intermediate layers only."""
    decayed = [net.first.weight, net.second.weight]
    others = [p for p in net.parameters() if all(p is not d for d in decayed)]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": chosen.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=chosen.learning_rate,
    )


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has instructions for bfloat16 products; elsewhere they are several times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    can = torch.cpu.get_capabilities()
    return bool(can.get("amx_bf16") or can.get("avx512_bf16") or can.get("bf16"))


def sample_weights(rows: pl.DataFrame, chosen: Hyperparameters) -> Floats:
    """Weights that balance these rows over local hour, weekday, logged-in status and label; mean 1."""
    columns = (rows[name].to_numpy() for name in ("hour_of_week", "logged_in", "label"))
    return weights_of_rows(*columns, scheme=chosen.weighting, cap=chosen.max_weight).astype(np.float32)


def _provenance(rows: pl.DataFrame, split: Split, chosen: Hyperparameters) -> dict[str, object]:
    """Where a release came from: what stands beside the decision content."""
    parts = {"train": split.train, "validation": split.validation, "calibration": split.calibration}
    at = pl.col("at").dt.to_string("iso:strict")
    return {
        "hyperparameters": asdict(chosen),
        "rows": {"all": len(rows)} | {name: len(part) for name, part in parts.items()},
        "windows": {name: part[[0, -1]].select(at).to_series().to_list() for name, part in parts.items()},
        "label_rules": dict(rows["rule"].cast(pl.String).value_counts(sort=True).iter_rows()),
        "crawler_list": packaged_crawlers().version,
    }


def command_line(arguments: Sequence[str] | None = None) -> None:
    """Train from a directory of Parquet files."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description="Train a release on a dataset.")
    parser.add_argument("--data", type=Path, required=True, help="directory of Parquet files (training/dataset.py)")
    parser.add_argument("--model", type=Path, required=True, help="model directory to write")
    for field in fields(Hyperparameters):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", default=None, metavar=type(field.default).__name__.upper(),
            help=f"default {field.default}",
        )  # fmt: skip
    chosen = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    names = [field.name for field in fields(Hyperparameters)]
    hyperparameters = {name: chosen[name] for name in names if chosen[name] is not None}
    sys.stdout.write(main({CHANNEL: chosen["data"]}, chosen["model"], hyperparameters) + "\n")


if __name__ == "__main__":
    command_line()
