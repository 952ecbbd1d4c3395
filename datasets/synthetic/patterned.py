"""The scene kind ``patterned``: lines and spaces, or arrays of dots or holes."""

from __future__ import annotations

from srbench.datasets.synthetic.dot_draws import dot_scene
from srbench.datasets.synthetic.dots import DotScene
from srbench.datasets.synthetic.draws import Draws
from srbench.datasets.synthetic.lines import LineScene, line_scene
from srbench.datasets.synthetic.scene import register_scene


@register_scene(code=6)
def patterned(draws: Draws, size: int) -> LineScene | DotScene:
    """Draw a grating or an array; the truth's ``style`` says which: ``lines``, ``dots`` or ``holes``."""
    return line_scene(draws, size) if draws.chance(0.5) else dot_scene(draws, size)
