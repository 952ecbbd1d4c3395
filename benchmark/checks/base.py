"""The ten checks by name, and the result of one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from srbench.store import Manifest
from srbench.utils.errors import SrbenchError, unknown_name

Status = Literal["passed", "failed", "unchecked"]


@dataclass(frozen=True)
class Check:
    """One check: its id as stored, its title as printed, and what holds where it passed."""

    name: str
    title: str
    promise: str


CHECKS: tuple[Check, ...] = (
    Check(
        "hr_access",
        "HR out of reach",
        "The model ran in a process that could not read the HR images, and with HR replaced by noise it gave "
        "the same pixels.",
    ),
    Check(
        "determinism",
        "LR alone decides",
        "The same LR image gives the same pixels, whatever its place in the order and whatever ran before.",
    ),
    Check(
        "contamination",
        "Splits apart",
        "No image of the test set, and no near-duplicate of one, is among the images trained on.",
    ),
    Check(
        "memorisation",
        "Nothing remembered",
        "Where the LR image cannot decide between two truths the model chooses no better than by chance, and "
        "it does as well on mirrored images and on images with one grey level of noise more.",
    ),
    Check(
        "databar_border",
        "No databar",
        "No scored image shows a databar, none was written by the model, and the border is cut.",
    ),
    Check(
        "lossless_output",
        "Lossless output",
        "The output has the right size, finite values, no blocks of JPEG, and its channels in order.",
    ),
    Check(
        "degradation",
        "LR is what it says",
        "LR made again from HR by the named degradation equals what the model was given, bit for bit.",
    ),
    Check(
        "pinned_protocol",
        "Conditions and rows",
        "Every number carries data, protocol and versions, and its rows are those that were written.",
    ),
    Check(
        "baselines",
        "Baselines in the table",
        "Interpolations, a noise ceiling where there is one, and a control that invents texture on purpose "
        "stand in the same table.",
    ),
    Check(
        "completeness",
        "Whole and distinct",
        "Every image of the split was scored, and no other model gave the same pixels.",
    ),
)
"""In the order of printing."""

ALIASES: Mapping[str, str] = {
    "hr_hidden": "hr_access",
    "lr_only": "determinism",
    "split_hygiene": "contamination",
    "nothing_remembered": "memorisation",
    "pinned_degradation": "degradation",
    "whole_and_distinct": "completeness",
}
"""Ids that manifests of srbench 0.1 hold, to those of today."""


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    Attributes:
        guard: id of the check.
        status: ``passed``, ``failed``, or ``unchecked`` where it could not be made or was not requested.
        detail: one or two sentences: what was examined and seen; where unchecked, why and what to type.
    """

    guard: str
    status: Status
    detail: str

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CheckResult:
        """A result as a manifest holds it, under an id of today or an earlier one.

        A status that this version does not know counts as unchecked.
        """
        status = stored.get("status")
        return cls(
            current_id(str(stored["guard"])),
            status if status in ("passed", "failed") else "unchecked",
            str(stored.get("detail", "")),
        )

    def to_json(self) -> dict[str, str]:
        """For a manifest."""
        return asdict(self)


def current_id(name: str) -> str:
    """Today's id of a check that may be stored under an earlier one."""
    return ALIASES.get(name, name)


def get_check(name: str) -> Check:
    """The check with this id, of today or an earlier one.

    Raises:
        SrbenchError: there is none.
    """
    by_name = {check.name: check for check in CHECKS}
    if current_id(name) not in by_name:
        raise unknown_name("check", name, by_name)
    return by_name[current_id(name)]


def merge(results: Iterable[CheckResult]) -> CheckResult:
    """One result of a check made in several ways: what failed, else what passed, else what is unchecked.

    Raises:
        ValueError: there is none, or they are of different checks.
    """
    results = list(results)
    names = {result.guard for result in results}
    if len(names) != 1:
        raise ValueError(f"Expected the results of one check, got those of {sorted(names) or 'none'}.")
    (name,) = names
    failed, passed, unchecked = (
        [result.detail for result in results if result.status == status]
        for status in ("failed", "passed", "unchecked")
    )
    if failed:
        return CheckResult(name, "failed", " ".join(failed))
    # A check that passed in some of its ways only says what is unchecked too.
    return CheckResult(name, "passed" if passed else "unchecked", " ".join([*passed, *unchecked]))


def merge_by_check(results: Iterable[CheckResult]) -> list[CheckResult]:
    """One result a check, in the order of ``CHECKS``."""
    results = list(results)
    grouped = ([result for result in results if result.guard == check.name] for check in CHECKS)
    return [merge(group) for group in grouped if group]


SMOKE = "smoke budget: not a result"
LEAKING = "sees the HR image: not ranked"
UNGUARDED = "unguarded: made outside srbench"


def stored_results(manifest: Manifest) -> tuple[CheckResult, ...]:
    """What a manifest says, whoever wrote it."""
    entries = (entry for entry in manifest.guards if isinstance(entry, Mapping) and entry.get("guard"))
    return tuple(CheckResult.from_json(entry) for entry in entries)


def is_audited(manifest: Manifest) -> bool:
    """Whether a stored run has been audited."""
    return any(
        check.guard == "determinism" and check.status != "unchecked" for check in stored_results(manifest)
    )


def failures(results: Iterable[CheckResult]) -> tuple[CheckResult, ...]:
    """Those that say that something is wrong."""
    return tuple(result for result in results if result.status == "failed")


def title_of_check(name: str) -> str:
    """How a check is printed; the bare name of one that this version does not know."""
    try:
        return get_check(name).title
    except SrbenchError:
        return name


def badge_of(result: CheckResult) -> str:
    """A failed check in the few words that stand beside a model's name."""
    title = title_of_check(result.guard)
    # "HR out of reach" keeps its capitals, "Lossless output" does not.
    plain = title[:1].lower() + title[1:] if title[1:2].islower() else title
    return f"failed: {plain}"


def reasons_unranked(manifest: Manifest, results: Iterable[CheckResult] | None = None) -> tuple[str, ...]:
    """Why a run is not ranked, in the words printed beside its name; empty for one that may be.

    Args:
        manifest: the run.
        results: what the checks gave; when None what the manifest itself says.
    """
    leaking = manifest.card.get("leaking", False)
    leaks = leaking if isinstance(leaking, bool) else manifest.key.variant in (leaking or ())
    smoke = manifest.weights.get("budget") == "smoke"
    failed = failures(stored_results(manifest) if results is None else results)
    reasons = ((LEAKING, leaks), (SMOKE, smoke), (UNGUARDED, manifest.external))
    return (*(reason for reason, holds in reasons if holds), *map(badge_of, failed))
