"""srbench: trains and evaluates super-resolution networks on scanning electron micrographs.

The verbs are :func:`train`, :func:`evaluate`, :func:`infer`, :func:`compare`, :func:`load_scores` and
:func:`report`; the packages are ``srbench.models``, ``srbench.datasets``, ``srbench.metrics`` and
``srbench.weights``. Nothing heavy is imported until it is used.
"""

from __future__ import annotations

__version__ = "0.1.0"
