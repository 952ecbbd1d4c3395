"""``srbench doctor``: what this machine can do, what is missing, what to type."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from srbench.cli.console import print_fields, print_json, print_table, say
from srbench.cli.options import json_option
from srbench.utils.progress import human_bytes
from srbench.version import __version__

_EXTRAS = {
    "basicsr": "BasicSR networks and metrics as a second opinion",
    "napari": "the plug-in of napari",
    "onnxruntime": "exported networks, and a backend",
    "openvino": "a backend",
    "pyiqa": "learned quality metrics (non-commercial licence)",
    "spandrel": "third-party weights",
}


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check the installation, the folders, the datasets and the optional files. Exit code 1 on a problem."""
    from srbench.datasets import list_datasets, source

    problems = _check_folder()
    machine = _machine()
    states = [(card.name, source(card.name).state()) for card in list_datasets()]
    networks, bad_networks = _pretrained()
    problems += bad_networks
    extras = {name: _extra(name, use) for name, use in _EXTRAS.items()}
    if as_json:
        datasets = {name: asdict(state) for name, state in states}
        facts = {"machine": machine, "datasets": datasets, "pretrained": networks, "extras": extras}
        print_json({**facts, "problems": problems})
        context.exit(1 if problems else 0)
    say("Machine")
    print_fields(machine)
    say("\nDatasets")
    rows = [(name, state.state, state.next_step) for name, state in states]
    print_table(("name", "state", "next"), rows, folding=("next",))
    say("\nPretrained networks (optional: losses and metrics say what they do without)")
    for name, network in networks.items():
        say(f"{name}: {network}")
    say("\nExtras")
    print_fields(extras)
    say()
    for problem in problems:
        say(f"Problem: {problem}")
    say("No problems found." if not problems else f"{len(problems)} problem(s).")
    context.exit(1 if problems else 0)


def _machine() -> dict[str, str]:
    import psutil
    import torch

    from srbench.utils.paths import cache_folder, home

    packages = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless")
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    free = shutil.disk_usage(_existing(home())).free
    return {
        "srbench": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        **{name: importlib.metadata.version(name) for name in packages},
        "cpu": f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads",
        "memory": f"{human_bytes(psutil.virtual_memory().available)} free",
        "cuda device": cuda or "none: training beyond smoke will be slow",
        "home": f"{home()} ({human_bytes(free)} free on that disk)",
        "cache": f"{cache_folder()} (may be deleted)",
    }


def _check_folder() -> list[str]:
    from srbench.utils.paths import home

    # Permission bits do not tell: of a folder's file system, or to root.
    try:
        with tempfile.TemporaryFile(dir=_existing(home())):
            return []
    except OSError as error:
        return [f"{home()} cannot be written ({error.strerror}): set SRBENCH_HOME to a folder of yours"]


def _existing(folder: Path) -> Path:
    """The folder, or what there is of the path to it: a file, where one is in the way."""
    return next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))


def _pretrained() -> tuple[dict[str, str], list[str]]:
    """Where each network is or how it is had, and what is wrong with files that are here."""
    from srbench.utils.errors import SrbenchError
    from srbench.weights import imagenet as pretrained

    networks, problems = {}, []
    for name, file in pretrained.FILES.items():
        try:
            path = pretrained.locate(name)
        except SrbenchError as error:
            problems.append(str(error))
            continue
        networks[name] = f"{path} ({file.used_for})" if path else pretrained.describe(name)
    return networks, problems


def _extra(name: str, use: str) -> str:
    if importlib.util.find_spec(name) is None:
        return f"not installed: {use}; pip install 'srbench[{name}]' in a fresh environment"
    return f"{importlib.metadata.version(name)}: {use}"
