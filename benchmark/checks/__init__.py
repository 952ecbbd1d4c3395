"""The ten guards: what must hold before a number is believed, checked by the harness itself.

Findings on one run are made while it is scored or audited and stored in its manifest; findings on the table
that runs stand in are made from the store when it is reported. A run with a failed guard is shown and never
ranked.
"""

from srbench.checks.base import GUARDS, Finding, Guard, Status, finding_of, guard, merge, merged

__all__ = ["GUARDS", "Finding", "Guard", "Status", "finding_of", "guard", "merge", "merged"]
