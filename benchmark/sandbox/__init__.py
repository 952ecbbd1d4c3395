"""What a model's process may read: only what it needs, never HR.

The parent says what a job needs and what is hidden (:func:`for_job`), the worker confines itself before any
code of the model is imported (:mod:`.applying`), and says how strong that really is (:class:`Strength`).
Nothing here imports more than the standard library: a process is confined before it has a second thread.
"""

from srbench.sandbox.policy import Confinement, Strength, for_job

__all__ = ["Confinement", "Strength", "for_job"]
