"""What may be chosen of a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal, Self, get_args

from slidr.errors import SlidrError
from slidr.slices import DEFAULT_COLUMNS, SliceMap
from training.calibration.certificate import DELTA
from training.calibration.problem import CAP_FACTOR
from training.calibration.thresholds import N_MIN, Form
from training.weights import MAX_WEIGHT, SCHEME, SCHEMES, Scheme

Bound = Literal["upper", "point"]
Calibrated = Literal["slices", "global"]
Precision = Literal["auto", "f32", "mixed"]

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "weighting": SCHEMES,
    "fpr_bound": get_args(Bound),
    "calibration": get_args(Calibrated),
    "calibration_form": get_args(Form),
    "precision": get_args(Precision),
}
_LEAST: Final = 1e-6
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "fpr_budget": (_LEAST, 1.0),
    "delta": (_LEAST, 1.0),
    "certify_share": (0.0, 1.0),
    "min_coverage": (0.0, 1.0),
    "cap_factor": (_LEAST, math.inf),
    "min_slice_purchases": (1, math.inf),
}


class HyperparameterInvalid(SlidrError):
    """A hyperparameter is unknown, or its value cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """What may be chosen of a training run; all of it goes into the evidence."""

    fpr_budget: float = 0.01
    """False-positive rate on purchasing clicks that lists and thresholds may cost together."""
    fpr_bound: Bound = "upper"
    """What must be within the budget: "upper", the FPR of later buyers with confidence 1 - delta, or "point", its
    expectation (training.release_thresholds.affordable)."""
    calibration: Calibrated = "slices"
    """"slices", a threshold each, or "global", one for all: the baseline."""
    calibration_form: Form = "exact"
    """"exact" or "paper": see training/calibration. Both are solved and reported."""
    slice_columns: str = ",".join(DEFAULT_COLUMNS)
    """Which columns cut the traffic, the most important first: a slice's parent lacks the last."""
    min_slice_purchases: int = N_MIN
    """A slice with fewer purchasing clicks uses its parent's threshold."""
    min_coverage: float = 0.0
    """Least robotic coverage of every slice with its own threshold."""
    cap_factor: float = CAP_FACTOR
    """No slice's own threshold has an FPR above so many times the budget."""
    certify_share: float = 0.3
    """Share of the people of the calibration rows who do not choose thresholds, but certify them."""
    delta: float = DELTA
    """The certificate may be wrong in this share of cases."""
    validation_share: float = 0.15
    """Rows in time order after the training rows that stop the training early."""
    calibration_share: float = 0.3
    """The latest rows: they choose and certify thresholds and train nothing."""
    epochs: int = 14
    """The learning rate falls to zero over them (cosine, after a short warm-up)."""
    patience: int = 6
    """Stop after so many epochs without a higher validation IVR at small FPR; the best epoch's weights are kept."""
    batch_rows: int = 2048
    precision: Precision = "auto"
    """"f32", "mixed" (bfloat16 products, all else float32), or "auto": mixed where the hardware multiplies bfloat16.
    By what the hardware can, not by a clock: two runs must choose alike."""
    learning_rate: float = 3e-3
    weight_decay: float = 1.0
    """L2 (decoupled, times the learning rate) on the weights of the two intermediate layers."""
    weighting: Scheme = SCHEME
    """"raked" or "joint": see training/weights.py."""
    max_weight: float = MAX_WEIGHT
    clock: bool = False
    """Whether hour and weekday of a click may move its score. Rows weigh the same at all hours, so these tell nothing
    of a label; a network that sees few weeks still finds something there, which later days do not keep (LOG.md)."""
    seed: int = 7
    threads: int = 1
    """Of torch. More gain little on so small a network, and lose a lot where other processes use the processor."""
    shuffle_labels: bool = False
    """Train and stop on shuffled labels: a model that must fail every check, to show that the checks can fail."""
    commit: str = ""
    """Of the code, for the evidence."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if (came := getattr(self, name)) not in choices:
                raise HyperparameterInvalid(f"{name} must be one of {choices}, came {came!r}.")
        for name, (low, high) in _RANGES.items():
            if not low <= (value := getattr(self, name)) < high:
                raise HyperparameterInvalid(f"{name} must be in [{low:g}, {high:g}), came {value:g}.")

    @property
    def slices(self) -> SliceMap:
        """The slice map that `slice_columns` names.

        Raises:
            ReleaseInvalid: a column that clicks do not have.
        """
        return SliceMap(columns=tuple(self.slice_columns.split(",")))

    @classmethod
    def from_strings(cls, strings: Mapping[str, str]) -> Self:
        """From SageMaker's strings; what is not named keeps its default.

        Raises:
            HyperparameterInvalid: with the name, what is required and what came.

        >>> Hyperparameters.from_strings({"epochs": "3", "shuffle_labels": "true"}).epochs
        3
        """
        kinds: dict[str, type] = {name: type(value) for name, value in asdict(cls()).items()}
        values: dict[str, object] = {}
        for name, text in strings.items():
            if name not in kinds:
                raise HyperparameterInvalid(f"hyperparameters are {sorted(kinds)}, came {name!r}.")
            try:
                values[name] = {"true": True, "false": False}[text] if kinds[name] is bool else kinds[name](text)
            except (KeyError, ValueError) as failure:
                raise HyperparameterInvalid(f"{name} must be a {kinds[name].__name__}, came {text!r}.") from failure
        return cls(**values)  # type: ignore[arg-type]  # each was made by its field's own type
