"""Fine-tuning: the weights that a training starts from, what is taken of them, and what is learned then.

The networks start as the weights are; where these are of another magnification, the tensors of equal name and
shape do. What is learned then is the recipe's last stage, at a tenth of its rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from srbench import models, weights
from srbench.config import TrainConfig
from srbench.models import Recipe, SRModel
from srbench.models.recipe import Clip, DiscriminatorSpec, Optimiser
from srbench.training import reproducibility
from srbench.training.checkpoint import CURRENT, load_checkpoint
from srbench.training.run_folder import BEST
from srbench.utils.errors import SrbenchError
from srbench.utils.files import sha256_file
from srbench.utils.paths import runs_folder
from srbench.utils.progress import count_of
from srbench.weights import Ancestor, WeightsHeader
from srbench.weights.find import WEIGHTS
from srbench.weights.published import known_file, named

RATE = 0.1
"""Of the recipe's learning rates."""
_NAMED = 4

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Start:
    """Weights that a training starts from.

    Attributes:
        path: their file.
        network: which network they are for.
        lineage: they, then what they started from themselves, and so on.
    """

    path: Path
    network: WeightsHeader
    lineage: tuple[Ancestor, ...]

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self.lineage[0].sha256


def find_start(config: TrainConfig) -> Start:
    """The weights that ``config.start`` names.

    Raises:
        SrbenchError: there are none of that name, or they are for another model or variant than requested.
    """
    path = _file(str(config.start))
    header = weights.read_header(path)
    scale = config.scale if "scale" in config.model_fields_set else None
    try:
        network = weights.identify(path, model=config.model, variant=config.variant, scale=scale)
    except SrbenchError:
        if scale is None:
            raise
        network = weights.identify(path, model=config.model, variant=config.variant)
    digest = sha256_file(path)
    name = path.parent.name if path.name in (WEIGHTS, BEST) else path.name
    if header is not None:
        parent = Ancestor(digest, name, replace(header, notes=(), lineage=()))
        return Start(path, network, (parent, *header.lineage))
    entry = known_file(path.name, digest)
    if entry is not None and (entry.is_content(digest) or not entry.sha256):
        return Start(path, network, (Ancestor(digest, name, network, entry.trained_on, entry.url),))
    return Start(path, network, (Ancestor(digest, name, network),))


def _file(given: str) -> Path:
    """The file meant: a path, a run's folder or its name, or a file that is shipped or has been fetched."""
    places = [weights.locate(path) for path in (Path(given), runs_folder() / given)]
    for path in places:
        if path.is_file():
            return path.resolve()
    for path in places:
        if path.name == WEIGHTS and path.parent.is_dir():
            raise SrbenchError(
                f"{path.parent} holds no finished weights ({WEIGHTS}). Finish that run with --resume, or "
                f"name a file, as its {BEST}."
            )
    entry = named(given)
    if entry is not None and not entry.direct:
        raise SrbenchError(entry.by_hand)
    if entry is not None:
        raise SrbenchError(f"{given} is not on this disk. Type: srbench weights fetch {given}")
    raise SrbenchError(
        f"No weights {given!r}: there is no such file, no run in {runs_folder()} and no published file of "
        "that name. See: srbench weights list"
    )


def load_start(start: Start, model: SRModel) -> list[str]:
    """Put the weights into ``model.network``, in place.

    Args:
        start: weights of the same model and variant.
        model: of any magnification; colour weights are converted where it is for grey images.

    Returns:
        What a reader of the results must know.

    Raises:
        SrbenchError: they do not fit.
    """
    parent = start.network
    if parent.channels < model.channels:
        raise SrbenchError(
            f"{start.path} holds weights for {count_of(parent.channels, 'channel')}; a network for "
            f"{model.channels} cannot start from them. Leave --channels out."
        )
    notes = [f"Started from {start.lineage[0].described}."]
    notes += [f"These had started from {ancestor.described}." for ancestor in start.lineage[1:]]
    source = model
    if parent.scale != model.scale:
        source = models.create(
            parent.model, scale=parent.scale, channels=model.channels, variant=parent.variant
        )
    loaded = weights.load(source, start.path, rgb_to_grey=True)
    notes += [f"{text[:1].upper()}{text[1:]}." for text in loaded.notes]
    if source is not model:
        notes.append(_copy_between_scales(source, model))
    # From here on it learns from luma in full range, as all that srbench trains.
    network: Any = model.network
    network.studio_luma = False
    return notes


def _copy_between_scales(source: SRModel, model: SRModel) -> str:
    """Copy the tensors that both networks have; says which the other one lacks."""
    given, target = source.network.state_dict(), model.network.state_dict()
    shared = {
        name: given[name] for name, old in target.items() if name in given and given[name].shape == old.shape
    }
    new = [name for name in target if name not in shared]
    if not any(tensor.ndim > 1 for tensor in shared.values()):
        raise SrbenchError(
            f"{model.card.name} {model.variant} at x{model.scale} shares no layer with itself at "
            f"x{source.scale}; start from weights for x{model.scale}."
        )
    model.network.load_state_dict({**target, **shared})
    if not new:
        return f"All tensors are those of the network at x{source.scale}."
    more = f" and {len(new) - _NAMED} more" if len(new) > _NAMED else ""
    return (
        f"New at x{model.scale}, of no counterpart at x{source.scale}: {count_of(len(new), 'tensor')} of "
        f"{len(target)} ({', '.join(new[:_NAMED])}{more})."
    )


def last_stage(recipe: Recipe) -> Recipe:
    """What is left of a recipe for a network that has learned already: its last stage, at :data:`RATE`."""
    stage = recipe.stages[-1]
    gentle = replace(
        stage,
        optimiser=_slower(stage.optimiser),
        clip=_closer(stage.clip),
        discriminators=tuple(
            replace(spec, optimiser=_slower(spec.optimiser), clip=_closer(spec.clip))
            for spec in stage.discriminators
        ),
    )
    bounded = " and bound on a step" if _closer(stage.clip) != stage.clip else ""
    note = f"Of the recipe its last stage alone ({stage.name}), at a tenth of its rates{bounded}."
    return replace(recipe, stages=(gentle,), notes=(*recipe.notes, note), initialise=None)


def _slower(optimiser: Optimiser) -> Optimiser:
    return replace(optimiser, lr=RATE * optimiser.lr)


def _closer(clip: Clip | None) -> Clip | None:
    """A clip that bounds the step itself, whatever the rate, bounds it to a tenth."""
    return replace(clip, value=RATE * clip.value) if clip is not None and clip.kind == "adjustable" else clip


def discriminators_of(start: Start, recipe: Recipe) -> tuple[dict[str, State], list[str]]:
    """The discriminators of the run that made the weights, as far as this recipe has them; what to note."""
    specs = recipe.stages[-1].discriminators
    if not specs:
        return {}, []
    stored, problem = _stored_discriminators(start)
    states, notes = {}, []
    for spec in specs:
        state = stored.get(spec.name)
        if state is not None and _fits(spec, state):
            states[spec.name] = state
            notes.append(f"The {spec.name} goes on from the one of that run.")
        else:
            why = problem or "that run has none of its shape"
            notes.append(f"The {spec.name} begins anew: {why}.")
    return states, notes


def _fits(spec: DiscriminatorSpec, state: State) -> bool:
    with reproducibility.preserved():
        expected = spec.build().state_dict()
    return expected.keys() == state.keys() and all(
        tensor.shape == state[name].shape for name, tensor in expected.items()
    )


def _stored_discriminators(start: Start) -> tuple[dict[str, State], str]:
    """Those in the checkpoint beside the weights, by name, or why there are none."""
    folder, parent = start.path.parent, start.lineage[0].header
    if not (folder / CURRENT).is_file():
        return {}, "there is no checkpoint beside the weights"
    try:
        saved = load_checkpoint(folder)
        step, networks = saved["state"]["total_step"], saved["state"]["critics"]
        if (step, saved["identity"]["model"]) != (parent.iterations, parent.model):
            return {}, f"the checkpoint beside the weights is of another step ({step})"
        return {
            name.replace("critic", "discriminator"): dict(content["network"])
            for name, content in networks.items()
        }, ""
    except (SrbenchError, KeyError, TypeError, AttributeError, ValueError) as error:
        return {}, f"the checkpoint beside the weights cannot be read ({error})"
