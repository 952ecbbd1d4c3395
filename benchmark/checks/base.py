"""What the ten guards are called and promise, and what one of them found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from srbench.store import Manifest
from srbench.utils.errors import SrbenchError, unknown_name

Status = Literal["passed", "failed", "unchecked"]


@dataclass(frozen=True)
class Guard:
    """One guard.

    Attributes:
        name: as stored.
        title: as printed.
        promise: what holds where it passed, in one sentence for someone who images.
        of: whether it judges a ``run`` or the ``table`` in which runs stand side by side.
    """

    name: str
    title: str
    promise: str
    of: Literal["run", "table"] = "run"


GUARDS: tuple[Guard, ...] = (
    Guard(
        "hr_hidden",
        "HR out of reach",
        "The model ran in a process that could not read the HR images, and with HR replaced by noise it gave "
        "the same pixels.",
    ),
    Guard(
        "lr_only",
        "LR alone decides",
        "The same LR image gives the same pixels, whatever its place in the order and whatever ran before.",
    ),
    Guard(
        "split_hygiene",
        "Splits apart",
        "No image of the test set, and no near-duplicate of one, is among the images trained on.",
    ),
    Guard(
        "nothing_remembered",
        "Nothing remembered",
        "Where the LR image cannot decide between two truths the model chooses no better than by chance, and "
        "it does as well on mirrored images and on images with one grey level of noise more.",
    ),
    Guard(
        "databar_border",
        "No databar",
        "No scored image shows a databar, none was written by the model, and the border is cut.",
    ),
    Guard(
        "lossless_output",
        "Lossless output",
        "The output has the right size, finite values, no blocks of JPEG, and its channels in order.",
    ),
    Guard(
        "pinned_degradation",
        "LR is what it says",
        "LR made again from HR by the named degradation equals what the model was given, bit for bit.",
    ),
    Guard(
        "pinned_protocol",
        "Conditions and rows",
        "Every number carries data, protocol and versions, and its rows are those that were written.",
    ),
    Guard(
        "baselines",
        "Yardsticks beside it",
        "Interpolations, a noise ceiling where there is one, and a control that invents texture on purpose "
        "stand in the same table.",
        of="table",
    ),
    Guard(
        "whole_and_distinct",
        "Whole and distinct",
        "Every image of the split was scored, and no other model gave the same pixels.",
        of="table",
    ),
)
"""In the order of printing."""


@dataclass(frozen=True)
class Finding:
    """What a guard found.

    Attributes:
        guard: name of the guard.
        status: ``passed``, ``failed``, or ``unchecked`` where it could not or was not asked to look.
        detail: one or two sentences: what was looked at and seen; where unchecked, why and what to type.
    """

    guard: str
    status: Status
    detail: str

    def stored(self) -> dict[str, str]:
        """For a manifest."""
        return asdict(self)


def guard(name: str) -> Guard:
    """The guard called ``name``.

    Raises:
        SrbenchError: there is none.
    """
    known = {one.name: one for one in GUARDS}
    if name not in known:
        raise unknown_name("guard", name, known)
    return known[name]


def finding_of(stored: Mapping[str, Any]) -> Finding:
    """A finding as a manifest holds it."""
    return Finding(str(stored["guard"]), stored["status"], str(stored["detail"]))


def merge(findings: Iterable[Finding]) -> Finding:
    """One finding of a guard that looked in several ways: what failed, else what passed, else what was not.

    Raises:
        ValueError: there is none, or they are of different guards.
    """
    found = list(findings)
    names = {one.guard for one in found}
    if len(names) != 1:
        raise ValueError(f"Expected the findings of one guard, found those of {sorted(names) or 'none'}.")
    for status in ("failed", "passed"):
        if any(one.status == status for one in found):
            # What is unchecked is told too: a guard that passed in one way only should say so.
            told = [one for one in found if one.status == status]
            told += [one for one in found if one.status == "unchecked" and status == "passed"]
            return Finding(found[0].guard, status, " ".join(one.detail for one in told))
    return Finding(found[0].guard, "unchecked", " ".join(one.detail for one in found))


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """One finding a guard, in the order of ``GUARDS``."""
    found = list(findings)
    by_guard = ([one for one in found if one.guard == known.name] for known in GUARDS)
    return [merge(own) for own in by_guard if own]


SMOKE = "smoke budget: not a result"
LEAKING = "sees the HR image: not ranked"
_STATUS: Mapping[str, Status] = {"passed": "passed", "failed": "failed"}


def stored_findings(manifest: Manifest) -> tuple[Finding, ...]:
    """What a manifest says, whoever wrote it: an unknown status counts as not checked."""
    return tuple(
        Finding(
            str(entry["guard"]),
            _STATUS.get(str(entry.get("status")), "unchecked"),
            str(entry.get("detail", "")),
        )
        for entry in manifest.guards
        if isinstance(entry, Mapping) and entry.get("guard")
    )


def failures(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that say that something is wrong."""
    return tuple(finding for finding in findings if finding.status == "failed")


def title_of_guard(name: str) -> str:
    """How a guard is printed; the bare name of one that this version does not know."""
    try:
        return guard(name).title
    except SrbenchError:
        return name


def badge_of(finding: Finding) -> str:
    """A failed guard in the few words that stand beside a model's name."""
    title = title_of_guard(finding.guard)
    # "HR out of reach" keeps its capitals, "Lossless output" does not.
    plain = title[:1].lower() + title[1:] if title[1:2].islower() else title
    return f"failed: {plain}"


def reasons_unranked(manifest: Manifest, findings: Iterable[Finding] | None = None) -> tuple[str, ...]:
    """Why a run is not ranked, in the words printed beside its name; empty for one that may be.

    Args:
        manifest: the run.
        findings: what the guards found; when None what the manifest itself says.
    """
    leaking = manifest.card.get("leaking", False)
    leaks = leaking if isinstance(leaking, bool) else manifest.key.variant in (leaking or ())
    smoke = manifest.weights.get("budget") == "smoke"
    failed = failures(stored_findings(manifest) if findings is None else findings)
    return (*([LEAKING] if leaks else []), *([SMOKE] if smoke else []), *map(badge_of, failed))
