"""Loss weights that follow the training: "SSL early, adversarial later" (CSM-SR project page).

The text gives ``lambda = f(metric_current, metric_target)`` and neither f, nor the metric, nor the target;
the released code moves its weights linearly with the epoch and looks at no metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from srbench.models.recipe import Progress

TARGET_PSNR = 37.982
"""What the authors report for their SEM set, in dB."""

FLOOR_PSNR = 26.979
"""What the same table reports for its weakest network (VDSR), in dB: a network below this has not begun."""


@dataclass(frozen=True)
class MetricFeedback:
    """A weight going from ``start`` to ``end`` as a validation metric goes from ``floor`` to ``target``.

    ``lambda = start + (end - start) * max(attained, elapsed)``, with ``attained`` the share of the way to
    the target that the metric has come and ``elapsed`` the share of the stage that is over, both within 0
    and 1. A network that is good early moves on early. The linear ramp is what remains before the first
    validation, and on data whose noise puts the target out of reach: there, the metric alone would never
    let the game begin.

    Attributes:
        start: weight at the floor.
        end: weight at the target, and at the end of the stage.
        metric: its key in ``Progress.metrics``; higher is better.
        floor: value counted as nothing attained.
        target: value counted as all attained.
    """

    start: float
    end: float
    metric: str = "psnr"
    floor: float = FLOOR_PSNR
    target: float = TARGET_PSNR

    def __call__(self, progress: Progress) -> float:
        """The weight at this point of the stage."""
        share = max(self.attained(progress), progress.fraction)
        return self.start + (self.end - self.start) * share

    def attained(self, progress: Progress) -> float:
        """Share of the way from floor to target, 0 to 1; 0 when the metric is not (yet) known."""
        current = progress.metrics.get(self.metric, math.nan)
        if math.isnan(current):
            return 0.0
        return min(max((current - self.floor) / (self.target - self.floor), 0.0), 1.0)
