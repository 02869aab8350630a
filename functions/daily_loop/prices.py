"""What a second of a job's instance costs, about: list prices of SageMaker AI in us-east-1, US dollars an hour.

Source: https://aws.amazon.com/sagemaker/ai/pricing/, as known in November 2026; check before you rely on them.
"""

from __future__ import annotations

from typing import Final

DOLLARS_AN_HOUR: Final = {
    "ml.c7i.large": 0.107,
    "ml.c7i.xlarge": 0.214,
    "ml.c7i.2xlarge": 0.428,
    "ml.c7i.4xlarge": 0.857,
    "ml.m7i.2xlarge": 0.484,
    "ml.g5.xlarge": 1.408,
    "ml.g5.2xlarge": 1.515,
}


def dollars(instance_type: str, seconds: float) -> float | None:
    """What so many seconds cost; None where the price is not known.

    >>> dollars("ml.c7i.2xlarge", 3600), dollars("ml.unknown", 1)
    (0.428, None)
    """
    price = DOLLARS_AN_HOUR.get(instance_type)
    return None if price is None else price * seconds / 3600
