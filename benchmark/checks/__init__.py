"""The ten checks that must pass before a number is ranked, made by the harness itself.

Results on one run are made while it is scored or audited and stored in its manifest; results on the table
that runs stand in are made from the store when it is reported. A run with a failed check is shown and never
ranked.
"""

from srbench.checks.base import CHECKS, Check, CheckResult, current_id, get_check, merge, merge_by_check

__all__ = ["CHECKS", "Check", "CheckResult", "current_id", "get_check", "merge", "merge_by_check"]
