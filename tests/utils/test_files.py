"""Names that every file system takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srbench.utils.files import safe_name

FORBIDDEN = set('<>:"/\\|?*=, \t\n') | {chr(code) for code in range(32)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sem_pixel:dose=60,jitter=0.3@1", "sem_pixel_dose_60_jitter_0.3@1"),
        ("folder:/data/my images", "folder_data_my_images"),
        ("bicubic", "bicubic"),
        ("C:\\micrographs\\new", "C_micrographs_new"),
        ("../../etc", "etc"),
        ("Prüfkörper", "Pr_fk_rper"),
        ("", "_"),
        ("...", "_"),
        ("nul", "_nul"),
        ("COM1.tif", "_COM1.tif"),
        ("company", "company"),
    ],
)
def test_names_that_are_read_again(text, expected):
    assert safe_name(text) == expected


@given(st.text())
def test_no_text_makes_a_name_that_some_system_refuses(text):
    name = safe_name(text)
    assert name and not set(name) & FORBIDDEN and name.isascii()
    assert name == Path(name).name and not name.startswith(".") and not name.endswith((".", " "))
    assert safe_name(name) in (name, f"_{name}", name.strip("_.") or "_")
