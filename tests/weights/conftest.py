"""Fixtures of the tests of weights."""

import pytest

from srbench import models


@pytest.fixture
def few_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of no name are compared with these models alone: building all takes half a minute."""
    monkeypatch.setattr(models, "model_names", lambda: ["edsr", "esrgan", "srgan", "vdsr"])
