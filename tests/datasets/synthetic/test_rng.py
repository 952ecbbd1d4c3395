"""Random numbers made from the frozen integers of PCG64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from srbench.datasets.synthetic.rng import RandomStream


def test_uniforms_are_numpys_own_shifted_to_the_cell_centres():
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence([7, 1, 2]))).random(1000)
    np.testing.assert_allclose(RandomStream(7, 1, 2).uniforms(1000), expected, rtol=0, atol=2.0**-53)


def test_raw_stream_has_the_published_first_integers():
    """PCG64 seeded with 0..: first outputs as numpy froze them (NEP 19)."""
    raw = np.random.PCG64(np.random.SeedSequence([0])).random_raw(2).tolist()
    assert RandomStream(0).uniforms(2).tolist() == [((value >> 11) + 0.5) * 2.0**-53 for value in raw]
    assert raw == [11749869230777074271, 4976686463289251617]


@pytest.mark.parametrize(("sample", "distribution"), [("normals", "norm"), ("uniforms", "uniform")])
def test_samples_follow_their_distribution(sample, distribution):
    values = getattr(RandomStream(3, 4), sample)(20_000)
    assert stats.kstest(values, distribution).pvalue > 0.01


@pytest.mark.slow
def test_log_normal_has_the_median_and_gsd_asked_for():
    stream = RandomStream(5)
    logs = np.log([stream.log_normal(20, 1.5, 0.1, 4000) for _ in range(4000)])
    assert np.exp(logs.mean()) == pytest.approx(20, rel=0.03)
    assert np.exp(logs.std()) == pytest.approx(1.5, rel=0.03)


def test_log_normal_says_when_its_bounds_are_hopeless():
    with pytest.raises(ValueError, match="hardly ever"):
        RandomStream(5).log_normal(20, 1.1, 1000, 2000)


@pytest.mark.slow
@given(st.integers(0, 2**31), st.integers(-50, 50), st.integers(0, 40))
def test_integers_stay_in_their_range(seed, low, extent):
    assert low <= RandomStream(seed).integer(low, low + extent) <= low + extent


def test_integers_reach_both_ends_equally_often():
    stream = RandomStream(9)
    counts = np.bincount([stream.integer(0, 3) for _ in range(4000)])
    assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.slow
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4))
def test_equal_keys_give_equal_streams_and_unequal_keys_do_not(key):
    assert np.array_equal(RandomStream(*key).uniforms(8), RandomStream(*key).uniforms(8))
    other = [*key[:-1], key[-1] + 1]
    assert not np.array_equal(RandomStream(*key).uniforms(8), RandomStream(*other).uniforms(8))
