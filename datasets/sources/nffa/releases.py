"""Which NFFA-EUROPE SEM data there are: classes, releases told apart by the md5 of their tars, and records.

Ten tars of the same names exist in several releases and under several records, so data are named after what
their md5 says and never after the record or folder they came from. Checksums of version 2.0 are those listed
in the repository slastrzelec/sem-nanostructure-classifier (``checksums/``, with sha256), of the older release
those that a public download script quotes from B2SHARE. None are public for the record that the authors of
CSM-SR link, nor for the majority set; no record at all is known here for the hierarchical set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from srbench.datasets.sources.nffa.b2share import Record

CLASSES = (
    "Biological",
    "Fibres",
    "Films_Coated_Surface",
    "MEMS_devices_and_electrodes",
    "Nanowires",
    "Particles",
    "Patterned_surface",
    "Porous_Sponge",
    "Powder",
    "Tips",
)


@dataclass(frozen=True)
class Tar:
    """What is known of one tar of a release: md5; size and sha256 where published."""

    md5: str
    size: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Release:
    """A set of tars.

    Attributes:
        id: as in the version of the packed data.
        title: in words.
        tars: class to tar.
    """

    id: str
    title: str
    tars: Mapping[str, Tar]

    @property
    def size(self) -> int | None:
        """Bytes of all tars, where every one is known."""
        sizes = [tar.size for tar in self.tars.values()]
        return sum(size for size in sizes if size is not None) if None not in sizes else None


_V2_TARS = {
    "Biological": ("296cd6be5ac97b2203e807e9552d9aeb", 703_825_920),
    "Fibres": ("c942e19b8ab221d3c700f44a0c67b306", 80_977_920),
    "Films_Coated_Surface": ("3c2e6cb914e1864855d9c3805ef47913", 197_632_000),
    "MEMS_devices_and_electrodes": ("98a988b167ff25528b80ab8bf7585c04", 3_305_451_520),
    "Nanowires": ("bc51bd48acbb693e5f34e0c9f882cf3e", 2_203_371_520),
    "Particles": ("61266e91981d0a0b4f7c6f15061cffc9", 2_519_879_680),
    "Patterned_surface": ("44d3964bef4ee7e84ba2f99c84036e9c", 2_874_941_440),
    "Porous_Sponge": ("fc71dc2603d6255b28aa6954a0190665", 119_562_240),
    "Powder": ("8209599720c2b5e0cfde6a985d49d0a3", 865_822_720),
    "Tips": ("e5a5bc0fbc7f3339b4ab5f4229991290", 707_338_240),
}
_V2_SHA256 = {
    "Biological": "0ccb23ff5f4fefbf57a8f298a343b345da39c4c0856de336508e7ce36e571268",
    "Fibres": "d0c8f1f12e567397622399c538be206116b8580fc6d18adfdcd08fa9c758cc3d",
    "Films_Coated_Surface": "cf3b17f1283df82883457bbd6ad154ab473d8fd34b82b31e7231b9245bbef874",
    "MEMS_devices_and_electrodes": "ef47512e2d31aa9ffe39881fe63725494e7e1d0ec866f712613bb56ac2fc5959",
    "Nanowires": "56139f2deb14a7b4214dd644565246dd147dff767804aff55cd9addda64c2a66",
    "Particles": "37073dd159184e64c6fa5ad6a82e09b47c4e94077b0699d22a6a0251eb2b6889",
    "Patterned_surface": "e5c5cabe5e55aebffe7c4420b1db14f8be6ad75fc275c5dded01f6f001c95649",
    "Porous_Sponge": "a011f1391dfdb7323d75c0863279722cefdb85b774daee281bcfe3f08e5a2516",
    "Powder": "8248b92ba75ad4cbd903619fcaf68fc8ade71c73592db0fcd926d89d19de98d8",
    "Tips": "6b7fffc11a7268c37225cda7945395e3acdc2bb85e03e22c1f6b2a293ffa3a90",
}
V2 = Release(
    "nffa-100-v2.0",
    "100% SEM Dataset, version 2.0 (21,169 images)",
    {name: Tar(md5, size, _V2_SHA256[name]) for name, (md5, size) in _V2_TARS.items()},
)

OLDER = Release(
    "nffa-100-older",
    "100% SEM Dataset, the release before version 2.0",
    {
        "Biological": Tar("c3a20755e2d937d70dd7d5be18f6006e"),
        "Fibres": Tar("86fb065581eb3680f08ab2de9cea86eb", 81_126_912),
        "Films_Coated_Surface": Tar("feb2b098a150c2ba6b6b35f2f18a6e7c", 197_943_296),
        "MEMS_devices_and_electrodes": Tar("8bc4f788ec54de267a2b8cd0ac92066a"),
        "Nanowires": Tar("005ffe16579c6352d3d521f58de56e8d"),
        "Particles": Tar("6b73d88e65d3c00493076238c4230579"),
        "Patterned_surface": Tar("19c0417faa8f977fdbf13d9c91ac3be8"),
        "Porous_Sponge": Tar("851e6daf0e7ce45b68dbe9eb1338807e", 119_734_272),
        "Powder": Tar("82da8aeb4d7a79c53bc3fefe9770e757", 866_739_200),
        "Tips": Tar("0a85315213af1c32a14555d46e8f093a", 708_994_560),
    },
)

RELEASES = (V2, OLDER)


@dataclass(frozen=True)
class Source:
    """A record to download, and the release it should hold (None: no checksum of it is public)."""

    record: Record
    release: Release | None


CSM_SR = Source(
    Record(
        "NFFA-EUROPE - SEM Dataset",
        ("19cc2afd23e34b92b36a1dfd0113a89f",),
        "5fc88ad5-2f13-483c-8b80-a5862c91dbbb",
    ),
    None,
)
V2_RECORD = Source(Record("100% SEM Dataset v2.0", ("zja8y-53j14", "80df8606fcdb4b2bae1656f0dc6db8ba")), V2)
OLDER_RECORD = Source(Record("100% SEM Dataset", ("862nr-cn036", "f1aa0f5ad38c456eaf7b04d47a65af53")), OLDER)
MAJORITY = Source(Record("Majority SEM Dataset", ("e344a8afef08463a855ada08aadbf352",)), None)
RECORDS = (CSM_SR, V2_RECORD, OLDER_RECORD, MAJORITY)


@dataclass(frozen=True)
class Identity:
    """What some tars are.

    Attributes:
        version: of the dataset; different data have different versions.
        title: in words.
        missing: classes of which there is no tar.
    """

    version: str
    title: str
    missing: tuple[str, ...]


def identify(md5s: Mapping[str, str]) -> Identity:
    """Say which release tars are of, by class to md5.

    A set with classes missing, or with tars that are of no known release, gets a version of its own.
    """
    missing = tuple(name for name in CLASSES if name not in md5s)
    releases = [release_of(name, md5) for name, md5 in md5s.items()]
    first = releases[0] if releases else None
    if first is not None and all(release is first for release in releases):
        version, title = first.id, first.title
    else:
        version = f"nffa-md5-{_joint_hash(md5s)}"
        named = sorted({release.title for release in releases if release is not None})
        others = ["others of no known release"] if None in releases else []
        title = "of no release that srbench knows the checksums of"
        if named:
            title = "tars of several releases: " + ", ".join(named + others)
    if missing:
        present = len(CLASSES) - len(missing)
        version += f"-partial-{present}of{len(CLASSES)}-{_joint_hash(dict.fromkeys(md5s, ''))[:6]}"
        title += f"; {present} of {len(CLASSES)} classes, without {', '.join(missing)}"
    return Identity(version, title, missing)


def release_of(category: str, md5: str) -> Release | None:
    """The release whose tar of a class has this md5."""
    return next((release for release in RELEASES if release.tars[category].md5 == md5), None)


def known_source(record: str) -> Source:
    """The record with an identifier, with all that is known of it."""
    for source in RECORDS:
        if record in source.record.ids:
            return source
    return Source(Record("named by the user", (record,)), None)


def _joint_hash(md5s: Mapping[str, str]) -> str:
    lines = "".join(f"{name} {md5}\n" for name, md5 in sorted(md5s.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]
