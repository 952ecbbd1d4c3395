"""What a model's process may read: only what it needs, never HR.

The parent states a job's policy (:func:`policy_for_job`); the worker applies it to itself before any code of
the model is imported (:mod:`.apply`) and reports how strong that really is (:class:`IsolationLevel`).
Only the standard library is imported here: a process is confined before it has a second thread.
"""

from srbench.sandbox.policy import IsolationLevel, SandboxPolicy, policy_for_job

__all__ = ["IsolationLevel", "SandboxPolicy", "policy_for_job"]
