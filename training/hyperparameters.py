"""What may be chosen of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from slidr.errors import SlidrError
from training.weights import MAX_WEIGHT, SCHEMES, Scheme


class HyperparameterInvalid(SlidrError):
    """A hyperparameter is unknown, or its value cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """What may be chosen of a training run; all of it goes into the evidence."""

    fpr_budget: float = 0.01
    """False-positive rate on purchasing clicks that the threshold may cost."""
    fpr_bound: str = "upper"
    """What must be within the budget on the calibration rows: "upper", the end of the 95% interval, or "point"."""
    validation_share: float = 0.15
    """Rows in time order after the training rows that stop the training early."""
    calibration_share: float = 0.3
    """The latest rows: they choose the threshold and train nothing."""
    epochs: int = 14
    """The learning rate falls to zero over them (cosine, after a short warm-up)."""
    patience: int = 6
    """Stop after so many epochs without a higher validation IVR at small FPR; the best epoch's weights are kept."""
    batch_rows: int = 2048
    learning_rate: float = 3e-3
    weight_decay: float = 1.0
    """L2 (decoupled, times the learning rate) on the weights of the two intermediate layers."""
    weighting: Scheme = "raked"
    """"raked" or "joint": see training/weights.py."""
    max_weight: float = MAX_WEIGHT
    seed: int = 7
    threads: int = 1
    """Of torch. More gain little on so small a network, and lose a lot where other processes use the processor."""
    shuffle_labels: bool = False
    """Train and stop on shuffled labels: a model that must fail every check, to show that the checks can fail."""
    commit: str = ""
    """Of the code, for the evidence."""

    def __post_init__(self) -> None:
        if self.weighting not in SCHEMES:
            raise HyperparameterInvalid(f"weighting must be one of {SCHEMES}, came {self.weighting!r}.")

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
