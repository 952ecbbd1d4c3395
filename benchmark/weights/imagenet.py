"""ImageNet networks that losses and encoders build on: looked for on disk, checked, never downloaded unasked.

The name of each file carries the first eight hex digits of its sha256 (PyTorch's convention); a file whose
bytes do not match its name is refused. Files are looked for in the srbench weights folder and in torch's hub
folder (``$TORCH_HOME/hub/checkpoints``), where torchvision would put them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srbench.utils.errors import SrbenchError, unknown_name
from srbench.utils.files import sha256_file
from srbench.utils.paths import weights_folder

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PretrainedFile:
    """A published weights file: its name (with the hash digits), its URL, what uses it, its licence."""

    file: str
    url: str
    used_for: str
    licence: str = "not stated by torchvision; trained on ImageNet"

    @property
    def sha256_prefix(self) -> str:
        """The hex digits of the sha256 in the file's name."""
        match = re.search(r"-([0-9a-f]{8})\.pth$", self.file)
        assert match is not None, self.file
        return match.group(1)


_TORCHVISION = "https://download.pytorch.org/models/"
_TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/"

FILES: Mapping[str, PretrainedFile] = {
    "alexnet": PretrainedFile(
        "alexnet-owt-7be5be79.pth", _TORCHVISION + "alexnet-owt-7be5be79.pth", "the LPIPS metric"
    ),
    "vgg16": PretrainedFile(
        "vgg16-397923af.pth", _TORCHVISION + "vgg16-397923af.pth", "the loss of the 5-block SRGAN"
    ),
    "vgg19": PretrainedFile("vgg19-dcbb9e9d.pth", _TORCHVISION + "vgg19-dcbb9e9d.pth", "perceptual losses"),
    "efficientnet_b0": PretrainedFile(
        "efficientnet_b0_ra-3dd342df.pth",
        _TIMM + "efficientnet_b0_ra-3dd342df.pth",
        "the encoder of CSM-SR",
        "Apache-2.0 (timm); trained on ImageNet",
    ),
    "efficientnet_b7": PretrainedFile(
        "efficientnet_b7_lukemelas-c5b4e57e.pth",
        _TORCHVISION + "efficientnet_b7_lukemelas-c5b4e57e.pth",
        "the encoder of CSM-SR's released graphs",
    ),
    "mobilenet_v2": PretrainedFile(
        "mobilenet_v2-b0353104.pth",
        _TORCHVISION + "mobilenet_v2-b0353104.pth",
        "the perceptual loss of Swift-SRGAN",
    ),
}


def entry(name: str) -> PretrainedFile:
    """What is known of a pretrained network.

    Raises:
        SrbenchError: unknown name.
    """
    if name not in FILES:
        raise unknown_name("pretrained network", name, FILES)
    return FILES[name]


def locate(name: str) -> Path | None:
    """Where the file is, its hash checked; None when it is nowhere.

    Raises:
        SrbenchError: the file is there but its bytes do not match the hash in its name.
    """
    expected = entry(name)
    for folder in search_folders():
        path = folder / expected.file
        if path.is_file():
            digest = sha256_file(path)
            if not digest.startswith(expected.sha256_prefix):
                raise SrbenchError(
                    f"{path} is not what its name says: sha256 starts {digest[:8]}, expected "
                    f"{expected.sha256_prefix}. Delete it, then: srbench weights fetch {expected.file}"
                )
            return path
    return None


def search_folders() -> tuple[Path, ...]:
    """Folders looked in, in this order."""
    from torch import hub

    return weights_folder(), Path(hub.get_dir()) / "checkpoints"


def pretrained(name: str) -> Mapping[str, Tensor] | None:
    """The state dict of a pretrained network (a ``PretrainedSource`` for recipes), None when not on disk."""
    from srbench.weights import read_state

    path = locate(name)
    return None if path is None else read_state(path)


def describe(name: str) -> str:
    """One sentence for a user who lacks the file: its name, how to get it, where to put it by hand."""
    file = entry(name)
    # Stored scores hold it, and are published: no folder of the user's in it.
    return (
        f"{file.file} is not on disk ({file.used_for}): srbench weights fetch {name}, or download "
        f"{file.url} into the folder {weights_folder().name} in srbench's home (srbench doctor names it)"
    )
