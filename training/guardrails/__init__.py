"""Guardrails: named checks, declared as data, whose violation is a value and can stop a release (docs/guardrails.md).

Two steps of a daily loop call them:

    data_guardrails(today, trailing)     before training: summaries of days (day_summary.py, declared in data.py)
    model_guardrails(summary)            after calibration: candidate and champion on a later day (model.py)

Summaries and results are plain numbers with a JSON form, so that they can be kept beside the release.
"""

from slidr.guardrails import Guardrail, GuardrailsUnreadable, Result, stopped_by
from slidr.shadow import endpoint_guardrails
from training.guardrails.data import data_guardrails
from training.guardrails.day_summary import DaySummary, summarise_day
from training.guardrails.model import model_guardrails
from training.guardrails.model_summary import ModelSummary, summarise_models

__all__ = [
    "DaySummary",
    "Guardrail",
    "GuardrailsUnreadable",
    "ModelSummary",
    "Result",
    "data_guardrails",
    "endpoint_guardrails",
    "model_guardrails",
    "stopped_by",
    "summarise_day",
    "summarise_models",
]
