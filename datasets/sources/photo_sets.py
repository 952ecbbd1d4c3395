"""The photograph sets: ``div2k``, ``flickr2k``, ``set5``, ``set14``, ``b100``, ``urban100``, ``manga109``.

Published tables evaluate on all 100 images of DIV2K's validation set, because its test set was never
released; they are ``test`` here. An image that chose a checkpoint cannot also score it, so ``val`` are the
last ten training images, 0791 to 0800, and ``train`` the 790 before them. ``flickr2k`` is all ``train``, the
others are all ``test``. Grey photographs (some in Set14 and B100) are stored with three equal channels: a set
is grey or in colour as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from srbench.datasets.base import DatasetCard, Split
from srbench.datasets.registry import register_dataset
from srbench.datasets.sources.photos import PhotographSource, PhotoSet, PublishedArchive

_ETH = "http://data.vision.ee.ethz.ch/cvl/DIV2K"
_SNU = "https://cv.snu.ac.kr/research/EDSR"
_BENCHMARK = PublishedArchive(f"{_SNU}/benchmark.tar", "4ace41d33c2384b97e6b320cd0afd6ba")
_NO_LICENCE = (
    "The publisher of the archive states no licence and the photographs have owners: whether you may use "
    "them is yours to judge. srbench downloads them for you and never passes them on."
)
_FOLDERS = {
    "div2k": ("div2k",),
    "flickr2k": ("flickr2k",),
    "set5": ("set5",),
    "set14": ("set14",),
    "b100": ("b100", "bsd100", "bsds100"),
    "urban100": ("urban100",),
    "manga109": ("manga109",),
}


def _neighbours(name: str) -> tuple[str, ...]:
    return tuple(folder for other, folders in _FOLDERS.items() if other != name for folder in folders)


def _div2k_split(image_id: str) -> Split:
    number = int(image_id)
    if number > 800:
        return "test"
    return "val" if number > 790 else "train"


@register_dataset
class Div2k(PhotographSource):
    """DIV2K; splits in the module's words."""

    card = DatasetCard(
        name="div2k",
        title="DIV2K",
        kind="photographs",
        summary="900 photographs of about 2040x1400 px: 790 train, 10 val, the 100 of published tables test",
        licence="academic research only",
        citation="Agustsson and Timofte, NTIRE 2017 challenge on single image super-resolution, CVPRW 2017",
        obtain=("fetch", "import"),
        urls=("https://data.vision.ee.ethz.ch/cvl/DIV2K/",),
        terms="For academic research purposes only; the photographs have owners. Packed it takes about 8 GB.",
        channels=3,
        download_bytes=3_530_603_713 + 449_000_000,
    )
    photos = PhotoSet(
        count=900,
        split=_div2k_split,
        archives=(
            PublishedArchive(f"{_ETH}/DIV2K_train_HR.zip", "bdc2d9338d4e574fe81bf7d158758658", 3_530_603_713),
            PublishedArchive(f"{_ETH}/DIV2K_valid_HR.zip", "9fcdda83005c5e5997799b69f955ff88"),
        ),
        folders=_FOLDERS["div2k"],
        named=lambda image_id: len(image_id) == 4 and image_id.isdecimal() and 1 <= int(image_id) <= 900,
        names="0001.png to 0900.png",
    )
    neighbours = _neighbours("div2k")


@register_dataset
class Flickr2k(PhotographSource):
    """Flickr2K: training photographs only."""

    card = DatasetCard(
        name="flickr2k",
        title="Flickr2K",
        kind="photographs",
        summary="2,650 photographs of about 2K, for training only",
        licence="unclear: none stated",
        citation="Lim et al., Enhanced deep residual networks for single image super-resolution, CVPRW 2017",
        obtain=("fetch", "import"),
        urls=(f"{_SNU}/Flickr2K.tar",),
        terms=f"{_NO_LICENCE} The archive holds LR images too, which are left aside; packed it takes 24 GB.",
        channels=3,
    )
    photos = PhotoSet(
        count=2650,
        split="train",
        archives=(PublishedArchive(f"{_SNU}/Flickr2K.tar", "5d3f39443d5e9489bff8963f8f26cb03"),),
        folders=_FOLDERS["flickr2k"],
        named=lambda image_id: len(image_id) == 6 and image_id.isdecimal() and 1 <= int(image_id) <= 2650,
        names="000001.png to 002650.png",
    )
    neighbours = _neighbours("flickr2k")


@register_dataset
class Manga109(PhotographSource):
    """Manga109: one page of each of 109 volumes; only its publishers give it out."""

    card = DatasetCard(
        name="manga109",
        title="Manga109",
        kind="photographs",
        summary="109 pages of manga, one a volume, for testing only",
        licence="academic use only, by application",
        citation="Matsui et al., Sketch-based manga retrieval using Manga109 dataset, "
        "Multimedia Tools and Applications 2017",
        obtain=("import",),
        urls=("http://www.manga109.org/en/",),
        terms="Academic use only; redistribution is forbidden, so srbench cannot download it. Apply at "
        "http://www.manga109.org/en/ and import what you are given.",
        channels=3,
    )
    photos = PhotoSet(109, "test", folders=_FOLDERS["manga109"])
    neighbours = _neighbours("manga109")

    @property
    def obtain(self) -> str:
        """Where to apply, then the command."""
        return f"Apply for it at {self.card.urls[0]}, then type: srbench data import manga109 --from DIR"


def _register_benchmark(
    title: str,
    images: int,
    citation: str,
    *,
    content: str = "photographs",
    licence: str = "none found",
    terms: str = _NO_LICENCE,
    home_page: str = "",
    sides: Iterable[tuple[int, int]] = (),
) -> type[PhotographSource]:
    """One of the small sets for testing, which lie in one archive; ``sides`` are widths and heights."""
    name = title.lower()

    class BenchmarkSet(PhotographSource):
        card = DatasetCard(
            name=name,
            title=title,
            kind="photographs",
            summary=f"{images} {content}, for testing only",
            licence=licence,
            citation=citation,
            obtain=("fetch", "import"),
            urls=(home_page, _BENCHMARK.url) if home_page else (_BENCHMARK.url,),
            terms=terms,
            channels=3,
            download_bytes=250_000_000,
        )
        photos = PhotoSet(images, "test", (_BENCHMARK,), _FOLDERS[name], shared=True, sides=frozenset(sides))
        neighbours = _neighbours(name)

    return register_dataset(BenchmarkSet)


Set5 = _register_benchmark(
    "Set5",
    5,
    "Bevilacqua et al., Low-complexity single-image super-resolution, BMVC 2012",
    sides=[(512, 512), (288, 288), (256, 256), (280, 280), (228, 344)],
)
Set14 = _register_benchmark(
    "Set14",
    14,
    "Zeyde, Elad and Protter, On single image scale-up using sparse-representations, 2010",
    sides=[
        *((500, 480), (720, 576), (512, 512), (352, 288), (250, 361), (276, 276), (500, 362)),
        *((768, 512), (529, 656), (586, 391)),
    ],
)
B100 = _register_benchmark(
    "B100",
    100,
    "Martin et al., A database of human segmented natural images, ICCV 2001",
    content="photographs of the Berkeley Segmentation Dataset",
    licence="non-commercial research and education",
    terms="For non-commercial research and education only (Berkeley).",
    home_page="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/",
    sides=[(481, 321), (321, 481)],
)
Urban100 = _register_benchmark(
    "Urban100",
    100,
    "Huang, Singh and Ahuja, Super-resolution from transformed self-exemplars, CVPR 2015",
    content="photographs of buildings",
    home_page="https://github.com/jbhuang0604/SelfExSR",
)
