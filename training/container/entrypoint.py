"""What SageMaker starts: `train`, `serve`, or `process NAME`, in the layout of /opt/ml.

    python -m training.container.entrypoint serve | train | process day | process evaluate |
                                             process replay | process hours
    python -m training.container.entrypoint process dataset [--features auto|logged|recomputed]

Environment: SLIDR_OPT_ML (default /opt/ml), and for `serve` the variables of `training.serve.ENVIRONMENT`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slidr.errors import SlidrError
from training.json_log import log_as_json

log = logging.getLogger("slidr.container")

_FAILURE_LIMIT: Final = 1024
"""SageMaker keeps this many characters of the failure file."""


class CommandInvalid(SlidrError):
    """The container was started with other words than it knows, or with inputs it cannot read."""


@dataclass(frozen=True, slots=True)
class MlPaths:
    """SageMaker's directory layout."""

    root: Path

    @property
    def model(self) -> Path:
        """Where a release is read from (serve) or written to (train)."""
        return self.root / "model"

    @property
    def failure(self) -> Path:
        """The file whose text becomes the job's failure reason."""
        return self.root / "output" / "failure"

    def channels(self) -> dict[str, Path]:
        """The input data directories, by channel name."""
        data = self.root / "input" / "data"
        return {path.name: path for path in sorted(data.iterdir()) if path.is_dir()} if data.is_dir() else {}

    def hyperparameters(self) -> dict[str, str]:
        """The job's hyperparameters, all of them strings; none if there is no file.

        Raises:
            CommandInvalid: the file is not a JSON object of strings.
        """
        path = self.root / "input" / "config" / "hyperparameters.json"
        if not path.exists():
            return {}
        try:
            came = json.loads(path.read_bytes())
        except ValueError as failure:
            raise CommandInvalid(f"{path.name} must be JSON, came: {failure}.") from failure
        if not isinstance(came, dict) or not all(isinstance(value, str) for value in came.values()):
            raise CommandInvalid(f"{path.name} must be a JSON object of strings, came {came!r}.")
        return came


def run(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Do what the container was started for.

    Raises:
        CommandInvalid: the words are not a command.
        SlidrError: whatever state the command ended in.
    """
    paths = MlPaths(Path(environment.get("SLIDR_OPT_ML", "/opt/ml")))
    match list(words):
        case ["serve"]:
            _serve(paths, environment)
        case ["train"]:
            _train(paths)
        case ["process", name, *options] if name in PROCESSING_STEPS:
            PROCESSING_STEPS[name](paths, options)
        case _:
            known = ["serve", "train", *(f"process {name}" for name in PROCESSING_STEPS)]
            raise CommandInvalid(f"the command must be one of {known}, came {list(words)}.")


# Imported when run: serving needs no torch on the CPU, training no web server.
def _serve(paths: MlPaths, environment: Mapping[str, str]) -> None:
    from training.serve import ServeSettings, serve  # noqa: PLC0415

    serve(paths.model, ServeSettings.from_environment(environment))


def _train(paths: MlPaths) -> None:
    from training.train import main as train  # noqa: PLC0415

    paths.model.mkdir(parents=True, exist_ok=True)
    train(paths.channels(), paths.model, paths.hyperparameters())


def _process_dataset(paths: MlPaths, options: Sequence[str]) -> None:
    from training.lake_dataset import FEATURES, process_dataset  # noqa: PLC0415

    match list(options):
        case []:
            process_dataset(paths.root / "processing")
        case ["--features", chosen] if chosen in FEATURES:
            process_dataset(paths.root / "processing", features=chosen)
        case _:
            raise CommandInvalid(f"process dataset takes --features, one of {FEATURES}, came {list(options)}.")


def _process_day(paths: MlPaths, options: Sequence[str]) -> None:
    from training.day_step import process_day  # noqa: PLC0415

    _refuse(options, step="day")
    process_day(paths.root / "processing")


def _process_evaluate(paths: MlPaths, options: Sequence[str]) -> None:
    from training.evaluate_step import process_evaluate  # noqa: PLC0415

    _refuse(options, step="evaluate")
    process_evaluate(paths.root / "processing")


def _process_replay(paths: MlPaths, options: Sequence[str]) -> None:
    from training.replay_step import process_replay  # noqa: PLC0415

    _refuse(options, step="replay")
    process_replay(paths.root / "processing")


def _process_hours(paths: MlPaths, options: Sequence[str]) -> None:
    from training.hour_step import process_hours  # noqa: PLC0415

    _refuse(options, step="hours")
    process_hours(paths.root / "processing")


def _refuse(options: Sequence[str], *, step: str) -> None:
    if options:
        raise CommandInvalid(f"process {step} takes no options, came {list(options)}.")


PROCESSING_STEPS: Final[Mapping[str, Callable[[MlPaths, Sequence[str]], None]]] = {
    "dataset": _process_dataset,
    "day": _process_day,
    "evaluate": _process_evaluate,
    "replay": _process_replay,
    "hours": _process_hours,
}
"""What `process NAME` runs, by name."""


def main() -> int:
    """Run the command line; the exit code is 0, or 1 with the reason in output/failure."""
    log_as_json(sys.stdout)
    try:
        run(sys.argv[1:], os.environ)
    except Exception as failure:
        reason = f"{type(failure).__name__}: {failure}"
        log.exception("container_failed", extra={"fields": {"reason": reason}})
        path = MlPaths(Path(os.environ.get("SLIDR_OPT_ML", "/opt/ml"))).failure
        with suppress(OSError):  # an endpoint has no such directory: the log line must do
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(reason[:_FAILURE_LIMIT], encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
