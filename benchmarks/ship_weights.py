"""Put the finished weights of training runs into the package, beside what is recorded of them.

    python benchmarks/ship_weights.py RUN [RUN ...] [--results DIR] [--recommend MODEL]

RUN is the folder of a finished ``srbench train``. The file is called after the folder; an entry of the same
model, variant, scale, data, degradation and seed is replaced. With ``--results`` the sentence of how it did
comes from the scores there (against bicubic), else from the last validation. ``--recommend`` marks the runs
of one model as what is taken where nobody names one, in place of the marked ones of their scales; of those
that enlarge, the one marked last is taken where nobody names a scale either. The weights are given away under
CC0-1.0.
"""

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from srbench import datasets
from srbench.statistics.compare import compare
from srbench.utils.errors import SrbenchError
from srbench.utils.files import read_json, sha256_file, write_text
from srbench.weights.find import INDEX, SHIPPED, WEIGHTS, ShippedWeights
from srbench.weights.io import read_header


def scored(sha256: str, results: Path) -> str:
    """PSNR on the test split against bicubic interpolation, as the score store has it."""
    comparison = compare(sha256, "bicubic", results=results, metrics=("psnr",))
    (psnr,) = comparison.metrics
    low, high, _ = psnr.paired.interval
    conditions = comparison.conditions
    where = f"{comparison.n_images} images of {conditions.dataset} ({conditions.split} split)"
    return (
        f"On {where} its PSNR is {psnr.paired.difference:+.2f} dB [{low:+.2f}, {high:+.2f}] from bicubic's."
    )


def entry_of(run: Path, results: Path | None, recommended: str) -> ShippedWeights:
    source = run / WEIGHTS
    manifest, header = read_json(run / "manifest.json"), read_header(source)
    if header is None or manifest.get("status") != "complete" or header.budget == "smoke":
        raise SrbenchError(f"{run} is no finished run of a budget beyond smoke; train it first.")
    digest, gain = sha256_file(source), float(manifest["progress"]["metrics"]["gain_over_bicubic"])
    side = "above" if gain >= 0 else "below"
    other = "bicubic's" if header.scale > 1 else "the input's"
    summary = f"On crops of validation images its PSNR is {abs(gain):.2f} dB {side} {other}."
    if results:
        summary = scored(digest, results)
    return ShippedWeights(
        file=f"{run.resolve().name}.safetensors",
        sha256=digest,
        model=header.model,
        variant=header.variant,
        scale=header.scale,
        task="sr" if header.scale > 1 else "denoise",
        trained_on=datasets.full_name(header.dataset),
        data=header.data,
        split="train",
        degradation=header.degradation,
        budget=header.budget,
        seed=header.seed,
        gain=round(gain, 4),
        summary=summary,
        licence="CC0-1.0",
        recommended=header.model == recommended,
    )


def kind(entry: dict[str, object]) -> tuple[object, ...]:
    return tuple(entry[name] for name in ("model", "variant", "scale", "trained_on", "degradation", "seed"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--recommend", default="")
    options = parser.parse_args()
    index = SHIPPED / INDEX
    entries = read_json(index) if index.is_file() else []
    for run in options.runs:
        entry = asdict(entry_of(run, options.results, options.recommend))
        position = 0
        for number, old in enumerate(entries):
            if kind(old) == kind(entry):
                position = 0 if entry["recommended"] else number
                entry["recommended"] |= old["recommended"]
                (SHIPPED / entries.pop(number)["file"]).unlink(missing_ok=True)
                break
        if entry["recommended"]:
            for old in entries:
                old["recommended"] &= old["scale"] != entry["scale"]
        shutil.copyfile(run / WEIGHTS, SHIPPED / entry["file"])
        entries.insert(position, entry)
        print(f"{entry['file']}: {entry['summary']}")
    entries.sort(key=lambda entry: not entry["recommended"])
    write_text(index, json.dumps(entries, indent=1) + "\n")
    size = sum(path.stat().st_size for path in SHIPPED.iterdir())
    print(f"{len(entries)} files, {size / 1e6:.2f} MB in {SHIPPED}")


main()
