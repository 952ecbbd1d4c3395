"""The error map's scale: dark without error, lighter with every step, saturated at its end."""

import numpy as np

from srbench.reporting.crops import ERROR_SCALE, error_scale


def luminance(red: str, green: str, blue: str) -> np.ndarray:
    channels = [np.array(list(map(float, table.split()))) for table in (red, green, blue)]
    return 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]


def test_lightness_rises_with_the_error_and_saturates() -> None:
    scale = error_scale()
    light = luminance(scale.red, scale.green, scale.blue)
    assert len(light) == 256
    end = int(255 * ERROR_SCALE) + 1
    assert light[0] < 0.01 and light[end] > 0.9
    assert np.all(np.diff(light[:end]) > -0.01) and np.all(light[end:] == light[-1])


def test_inferno_as_published() -> None:
    """Ends and middle of the colour map (van der Walt and Smith 2015)."""
    legend = error_scale().legend
    assert legend[0] == "#000004" and legend[-1] == "#fcffa4"
    middle = [int(legend[len(legend) // 2][place : place + 2], 16) for place in (1, 3, 5)]
    assert np.allclose(middle, (0xC4, 0x3C, 0x4E), atol=16)
    assert len(set(legend)) == len(legend)
