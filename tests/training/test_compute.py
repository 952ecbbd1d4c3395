"""Training compute: updates counted by hand, and recipes cut to a number of multiply-adds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.training_fakes import GAN, PIXEL, TinySR
from srbench.models.base import ModelCard, SRModel
from srbench.models.recipe import Recipe, default_recipe
from srbench.training.compute import multiply_adds_per_update, within
from srbench.utils.errors import SrbenchError

SCALE = 2


@pytest.fixture
def model():
    torch.manual_seed(0)
    card = ModelCard("tiny", "Tiny", "regression", "", 2026, (SCALE,), ("only",))
    return SRModel(TinySR(SCALE, 1), card, SCALE, 1, "only", default_recipe, dict)


def test_an_update_is_counted_as_by_hand(model):
    lr_pixels = (PIXEL.patch // SCALE) ** 2
    head, tail = 9 * 1 * 8 * lr_pixels, 9 * 8 * SCALE**2 * lr_pixels
    # forward, gradient of the weights, gradient of the input (none for the image itself)
    assert multiply_adds_per_update(model, Recipe((PIXEL,), "")) == (PIXEL.batch * (2 * head + 3 * tail),)


def test_discriminators_count_and_nothing_is_changed(model):
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    state = torch.get_rng_state()
    alone, against = multiply_adds_per_update(model, Recipe((PIXEL, GAN), ""))
    assert against > alone
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.network.state_dict().items())


def test_a_recipe_within_a_budget_keeps_its_proportions(model):
    recipe = Recipe((replace(PIXEL, iterations=4000), replace(GAN, iterations=1000)), "")
    costs = multiply_adds_per_update(model, recipe)
    budget = 0.05 * (4000 * costs[0] + 1000 * costs[1])
    cut, spent = within(recipe, model, budget)
    pixel, gan = cut.stages
    assert (pixel.iterations, gan.iterations) == (200, 50)
    assert spent == 200 * costs[0] + 50 * costs[1] == pytest.approx(budget)
    assert replace(pixel, iterations=4000) == recipe.stages[0]
    assert len(cut.notes) == len(recipe.notes) + 1  # 50 updates teach a discriminator little


def test_a_budget_below_one_update_is_refused(model):
    (cost,) = multiply_adds_per_update(model, Recipe((PIXEL,), ""))
    with pytest.raises(SrbenchError):
        within(Recipe((PIXEL,), ""), model, cost / 2)
