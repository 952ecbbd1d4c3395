"""What the cost columns are called; the harness measures them (``srbench.evaluation.worker``)."""

from srbench.metrics.registry import register_property

register_property(
    "params",
    title="Parameters",
    unit="",
    explanation="Numbers the network has learned.",
)
register_property(
    "gmacs_per_mpx",
    title="Multiply-adds",
    unit="G/Mpx",
    explanation="Billions of multiply-adds for a million pixels of result; does not depend on the machine.",
)
register_property(
    "seconds_per_mpx",
    title="Time",
    unit="s/Mpx",
    explanation="Seconds for a million pixels of result on the machine named in the manifest.",
)
register_property(
    "peak_mb_per_mpx",
    title="Peak memory",
    unit="MB/Mpx",
    explanation="Most that the network holds in between for a million pixels of result, run whole.",
)
