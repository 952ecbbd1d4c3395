"""Poisson counts by inversion against SciPy's quantile function, and as a distribution."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammainc, gammaincc

from srbench.datasets.degrade.noise import Stream, _expansion, _search, poisson, uniforms
from srbench.datasets.synthetic.imaging import poisson_distribution

MEANS = [0.0, 1e-9, 0.02, 0.5, 1.0, 3.0, 3.999, 4.0, 7.3, 11.99, 12.0, 20.0, 60.0, 150.0, 600.0, 5000.0]


def every_part_of_the_interval(count=20000):
    """Uniform numbers with the ends, down to the smallest that the generator makes, over-represented."""
    zero = torch.zeros(count, dtype=torch.int64)
    middle, _ = uniforms(torch.tensor(3), (torch.arange(count), zero, zero), Stream.DOSE)
    tail = torch.logspace(-16, -1, 3000, dtype=torch.float64)
    return torch.cat((middle, tail, 1 - tail)).clamp(2.0**-54, 1 - 2.0**-53)


def near_a_step(counts, mean, u, tolerance=1e-12):
    """Whether a uniform number lies where float64 cannot tell on which side of a step it is."""
    steps = stats.poisson.cdf(np.stack([counts - 1, counts, counts + 1]), mean)
    return np.abs(steps - u).min(0) < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("mean", MEANS)
def test_counts_are_scipys_quantiles(mean):
    u = every_part_of_the_interval()
    found = poisson(torch.full_like(u, mean), u).numpy()
    expected = stats.poisson.ppf(u.numpy(), mean) if mean else np.zeros(len(u))
    differing = found != expected
    assert near_a_step(expected[differing], mean, u.numpy()[differing]).all()
    assert differing.mean() < 0.02


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(mean=st.floats(0, 3000), u=st.floats(2.0**-54, 1 - 2.0**-53))
def test_the_count_is_the_first_that_reaches_the_uniform_number(mean, u):
    mean, u = torch.tensor([mean], dtype=torch.float64), torch.tensor([u], dtype=torch.float64)
    count = poisson(mean, u)
    assert torch.special.gammaincc(count + 1, mean) >= u - 1e-12
    assert count == 0 or torch.special.gammaincc(count, mean) < u + 1e-12


@pytest.mark.slow
def test_means_of_one_tensor_may_differ_as_they_like():
    u = every_part_of_the_interval(5000)
    mean = torch.rand(len(u), dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 4 * 2000
    found, expected = poisson(mean, u).numpy(), stats.poisson.ppf(u.numpy(), mean.numpy())
    differing = found != expected
    assert near_a_step(expected[differing], mean.numpy()[differing], u.numpy()[differing]).all()


@pytest.mark.slow
@pytest.mark.parametrize("mean", MEANS)
def test_the_search_that_other_devices_use_gives_the_same(mean):
    u = every_part_of_the_interval()
    means = torch.full_like(u, mean)
    fast, searched = poisson(means, u), _search(means, u)
    differing = (fast != searched).numpy()
    assert near_a_step(fast.numpy()[differing], mean, u.numpy()[differing]).all()


@pytest.mark.slow
def test_the_expansion_is_never_further_off_than_it_says():
    """Against SciPy's gamma function; above the median its complement, for float64 ends next to 1."""
    normal = torch.linspace(-7, 7, 1401, dtype=torch.float64)
    lower = (normal < 0).numpy()
    u, rest = (torch.special.ndtr(sign * normal).numpy() for sign in (1, -1))
    for mean in np.geomspace(4, 1e5, 60):
        root, doubt = _expansion(torch.full_like(normal, mean), normal)
        for bound, sign in (((root - doubt).numpy(), 1), ((root + doubt).numpy(), -1)):
            inside = bound > 2  # below, the distribution function decides anyway
            small, large = lower & inside, ~lower & inside
            assert (sign * (u - gammaincc(bound, mean))[small] >= -1e-9 * u[small] - 1e-16).all()
            assert (sign * (gammainc(bound, mean) - rest)[large] >= -1e-9 * rest[large] - 1e-16).all()


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.3, 3.0, 9.0, 60.0, 600.0])
def test_counts_are_distributed_as_poisson_said(mean):
    zero = torch.zeros(400_000, dtype=torch.int64)
    u, _ = uniforms(torch.tensor(11), (torch.arange(400_000), zero, zero), Stream.DOSE)
    counts = poisson(torch.full_like(u, mean), u).numpy()
    cumulative = poisson_distribution(mean)
    edges = np.unique(np.searchsorted(cumulative, np.linspace(0.02, 0.98, 40)))
    expected = np.diff(np.concatenate(([0], cumulative[edges], [1])))
    observed = np.bincount(np.searchsorted(edges, counts), minlength=len(expected))
    assert 1e-4 < stats.chisquare(observed, expected * len(counts)).pvalue < 1 - 1e-4


@pytest.mark.gpu
def test_cuda_counts_what_the_cpu_counts():
    u = every_part_of_the_interval()
    for mean in MEANS:
        means = torch.full_like(u, mean)
        here, there = poisson(means, u), poisson(means.cuda(), u.cuda()).cpu()
        differing = (here != there).numpy()
        assert near_a_step(here.numpy()[differing], mean, u.numpy()[differing]).all()
