"""What happens to srbench when files, weights, plug-ins and machines misbehave. Prints a table.

    OMP_NUM_THREADS=1 python benchmarks/chaos.py --minutes 20 [--seed 0] [--only kills ...] [--folder FOLDER]

Each module of ``benchmarks/chaos/`` is a part and has ``run(random, seconds, folder) -> Part``; the parts
share the minutes equally. Equal seeds try the same things in the same order. Exit code 1 where a count that
must be zero is not, after an example of each.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from chaos.part import FAILURES, Part

PARTS = ("kills", "images", "weights", "configurations", "archives", "manifests", "attacks")


def table(parts: list[Part]) -> str:
    """One line a part: tried, each count that must be zero, and what else it counted."""
    rows = [("part", "tried", *FAILURES, "also")]
    for part in parts:
        counted = [str(part.counts.get(name, "-")) for name in FAILURES]
        others = ", ".join(f"{count} {name}" for name, count in part.counts.items() if name not in FAILURES)
        rows.append((part.name, f"{part.tried:,}", *counted, others))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    there = [name for name in PARTS if importlib.util.find_spec(f"chaos.{name}")]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="in all; default 10")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", choices=there, default=there, metavar="PART", help=", ".join(there)
    )
    parser.add_argument("--folder", type=Path, help="where to work; default a temporary folder")
    options = parser.parse_args()
    done = []
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=options.folder) as folder:
        for name in options.only:
            work = Path(folder) / name
            work.mkdir()
            random = np.random.default_rng([options.seed, PARTS.index(name)])
            start = time.monotonic()
            part = importlib.import_module(f"chaos.{name}").run(
                random, 60 * options.minutes / len(options.only), work
            )
            done.append(part)
            print(
                f"{name}: {part.tried:,} tried in {time.monotonic() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    print(f"seed {options.seed}\n{table(done)}")
    for part in done:
        for example in part.examples:
            print(f"{part.name}: {example}")
    return int(any(part.failed for part in done))


if __name__ == "__main__":
    sys.exit(main())
