"""Options that several commands share, declared once."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def _located(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """The weights in the folder of a run; the file of that name in the weights folder where none is here."""
    if path is None:
        return None
    from srbench.weights.find import locate

    return locate(path).resolve()


scale_option = click.option(
    "--scale", type=click.IntRange(1, 8), default=4, show_default=True, help="Magnification."
)
weights_scale_option = click.option(
    "--scale",
    type=click.IntRange(1, 8),
    help="Magnification [default: that of recorded pairs or of the weights, else 4].",
)
variant_option = click.option(
    "--variant", help="Variant of the model [default: that of the weights, else its first]."
)
degradation_option = click.option(
    "--degradation",
    metavar="NAME[:SETTING=VALUE,...]",
    help="How LR is made from HR, as bicubic or sem_pixel:dose=60. [default: bicubic; the recorded LR of "
    "a dataset of pairs]",
)
rgb_to_grey_option = click.option(
    "--rgb-to-grey",
    is_flag=True,
    help="Convert colour --weights for the grey network [default: run them as they are on grey images].",
)
MEASURES = click.Choice(("particles", "lines", "pores", "fibres"))
what_option = click.option("--measure", "what", type=MEASURES, required=True, help="What is measured.")


def writable(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """Callback of ``--out``: what cannot be written is said before hours of work, not after."""
    if path is not None:
        from srbench.utils.files import OUT_SETTING, check_writable

        check_writable(path if path.is_dir() else path.parent, OUT_SETTING)
    return path


json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON, for other programs.")
backend_option = click.option(
    "--backend",
    type=click.Choice(("torch", "onnxruntime", "openvino")),
    default="torch",
    show_default=True,
    help="What runs the network; the others on the CPU, extras of their names.",
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
weights_option = click.option(
    "--weights",
    type=click.Path(path_type=Path),
    callback=_located,
    help="Weights file, folder of a run, or a file's name in weights list; by default the best trained here, "
    "else those that come with srbench.",
)


def _by_name(_context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """``NAME=VALUE`` texts as a mapping."""
    pairs = [text.partition("=") for text in texts]
    for text, (name, _, value) in zip(texts, pairs, strict=True):
        if not (name and value):
            raise click.BadParameter(f"Expected {option.metavar}, found {text!r}.", param=option)
    return {name: value for name, _, value in pairs}


tolerances_option = click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    callback=_by_name,
    metavar="MEASUREMENT=VALUE",
    help="How much super-resolution may change a measurement: diameter, cd, ler, lwr=0.5px or 2nm, "
    "pore_fraction=0.01. Repeatable.",
)
margins_option = click.option(
    "--margin",
    "margins",
    multiple=True,
    callback=_by_name,
    metavar="METRIC=VALUE",
    help="Smallest difference that matters, in place of the default, as psnr=0.3 or cd_bias=2nm. Repeatable.",
)
results_option = click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    help="Folder of the score store [default: $SRBENCH_HOME/results].",
)


def _length(
    _context: click.Context, option: click.Parameter, text: str | None
) -> tuple[float | None, float | None]:
    """Pixels and nanometres of a length in one of them."""
    if text is None:
        return None, None
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(px|nm|)", text.strip())
    if match is None:
        raise click.BadParameter(f"Expected a length as 1.5px or 8nm, found {text!r}.", param=option)
    length = float(match[1])
    return (None, length) if match[2] == "nm" else (length, None)


_READING = (
    click.option(
        "--bits",
        type=click.IntRange(8, 16),
        help="Significant bits of files that store more than 8 [default: from their tags, else the fewest "
        "that hold the largest value of the folder].",
    ),
    click.option(
        "--pixel-size-nm",
        type=click.FloatRange(min=0, min_open=True),
        help="Side of a pixel, where the files do not say it or say it wrongly.",
    ),
    click.option(
        "--pages",
        type=click.Choice(("first", "all")),
        default="first",
        show_default=True,
        help="Of files with several pages: the first, or each as an image.",
    ),
    click.option(
        "--measure",
        type=MEASURES,
        multiple=True,
        help="What is on the images and is to be measured [default: by the names of folders]. Repeatable.",
    ),
    click.option("--rows", is_flag=True, help="Of pairs: fit a shift of each scan line too."),
    click.option(
        "--residual",
        callback=_length,
        metavar="PX|NM",
        help="Of pairs: what registration may leave, as 1.5px or 8nm; others are left out [default: 1px].",
    ),
)
bits_option, pixel_size_option = _READING[:2]


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options on how the files of a user's folder are read; the command is given them as ``reading``."""

    @functools.wraps(command)
    def with_reading(
        *args: Any,
        bits: int | None,
        pixel_size_nm: float | None,
        pages: Any,
        measure: tuple[str, ...],
        rows: bool,
        residual: tuple[float | None, float | None],
        **options: Any,
    ) -> Any:
        from srbench.datasets.base import ReadingOptions

        reading = ReadingOptions(bits, pixel_size_nm, pages, tuple(dict.fromkeys(measure)), rows, *residual)
        return command(*args, reading=reading, **options)

    for option in reversed(_READING):
        with_reading = option(with_reading)
    return with_reading
