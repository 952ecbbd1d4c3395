"""The counter-based generator: published vectors, plain integers, and what random numbers must look like."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from srbench.datasets.degrade import LrPosition, noise_key
from srbench.datasets.degrade.noise import Stream, philox, pixel_uniforms, uniforms

# Random123, examples/kat_vectors, philox4x32 with 10 rounds: counter, key, output.
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
WORD = st.integers(0, 2**32 - 1)


def words(numbers):
    return tuple(torch.tensor([number]) for number in numbers)


def philox_of_integers(counter, key):
    """Salmon et al., section 3.3, in Python's unbounded integers."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        left, right = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (right >> 32) ^ b ^ k, right % 2**32, (left >> 32) ^ d ^ m, left % 2**32
        k, m = (k + 0x9E3779B9) % 2**32, (m + 0xBB67AE85) % 2**32
    return a, b, c, d


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_published_vectors(counter, key, expected):
    assert tuple(word.item() for word in philox(words(counter), words(key))) == expected


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(counter=st.tuples(WORD, WORD, WORD, WORD), key=st.tuples(WORD, WORD))
def test_int64_operations_are_those_of_unbounded_integers(counter, key):
    found = tuple(word.item() for word in philox(words(counter), words(key)))
    assert found == philox_of_integers(counter, key)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(key=st.integers(0, 2**63 - 1), row=st.integers(-5000, 5000), column=st.integers(-5000, 5000))
def test_uniforms_are_53_bits_of_the_counter_at_their_place(key, row, column):
    position = (torch.tensor(row), torch.tensor(column), torch.tensor(2))
    found = uniforms(torch.tensor(key), position, Stream.VIBRATION)
    a, b, c, d = philox_of_integers(
        (row % 2**32, column % 2**32, 2, int(Stream.VIBRATION)), (key % 2**32, key >> 32)
    )
    expected = [max(((high << 32 | low) >> 11) / 2**53, 2.0**-54) for high, low in ((a, b), (c, d))]
    assert [number.item() for number in found] == expected
    assert all(0 < number < 1 for number in expected)


def test_extreme_words_stay_inside_the_open_interval():
    from srbench.datasets.degrade.noise import _unit

    ends = _unit(torch.tensor([0, 2**32 - 1]), torch.tensor([0, 2**32 - 1]))
    assert ends.tolist() == [2.0**-54, 1 - 2.0**-53]
    assert torch.special.ndtri(ends).isfinite().all()


def numbers(key=0, shape=(1, 1, 512, 512), origin=(0, 0)):
    count = shape[0]
    place = LrPosition(torch.arange(key, key + count), torch.tensor([origin] * count))
    return torch.stack(pixel_uniforms(place, torch.Size(shape)))


def assert_uniform(sample):
    """Chi-square over 256 cells, two-sided; fixed keys, so this cannot fail by chance."""
    observed = np.histogram(np.asarray(sample).ravel(), 256, (0, 1))[0]
    assert 1e-4 < stats.chisquare(observed).pvalue < 1 - 1e-4


@pytest.mark.slow
def test_numbers_are_uniform_over_pixels_keys_and_channels():
    assert_uniform(numbers()[0])
    assert_uniform(numbers()[1])
    assert_uniform(numbers(key=10**15, shape=(65536, 1, 1, 1)))
    assert_uniform(numbers(shape=(1, 65536, 1, 1)))
    assert_uniform(numbers()[0].double().mul(2**20).frac())  # the lower bits too


@pytest.mark.slow
def test_pairs_are_uniform_on_the_square():
    """Neighbours, channels, neighbouring keys, the two numbers of a pixel, and streams are independent."""
    field = numbers(shape=(2, 2, 256, 256))
    first = field[0, 0, 0]
    rows = torch.arange(256)[:, None].expand(256, 256).contiguous()
    columns = rows.mT.contiguous()
    jitter = uniforms(torch.tensor(0), (rows, columns, torch.zeros_like(rows)), Stream.JITTER)[0]
    partners = {
        "right": (first[:, :-1], first[:, 1:]),
        "below": (first[:-1], first[1:]),
        "diagonal": (first[:-1, :-1], first[1:, 1:]),
        "transposed": (first.triu(1)[first.triu(1) > 0], first.mT.triu(1)[first.mT.triu(1) > 0]),
        "second number": (first, field[1, 0, 0]),
        "key": (first, field[0, 1, 0]),
        "channel": (first, field[0, 0, 1]),
        "stream": (first, jitter),
    }
    for name, (a, b) in partners.items():
        observed = np.histogram2d(a.ravel().numpy(), b.ravel().numpy(), 16, ((0, 1), (0, 1)))[0]
        assert 1e-4 < stats.chisquare(observed.ravel()).pvalue < 1 - 1e-4, name
        correlation = np.corrcoef(a.ravel().numpy(), b.ravel().numpy())[0, 1]
        assert abs(correlation) < 4 / math.sqrt(a.numel()), name


@pytest.mark.slow
def test_the_spectrum_of_the_numbers_is_white():
    normal = torch.special.ndtri(numbers(key=4)[0, 0, 0]).numpy()
    power = np.abs(np.fft.fft2(normal)) ** 2 / normal.size
    rings = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    for low in np.arange(0.02, 0.5, 0.06):
        ring = power[(rings >= low) & (rings < low + 0.06)]
        assert abs(ring.mean() - 1) < 4 / math.sqrt(ring.size / 2)
    assert power.max() < math.log(power.size / 2) + 12  # no line: the maximum of exponential variables


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    top=st.integers(-20, 40),
    left=st.integers(-20, 40),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    key=st.integers(0, 2**63 - 1),
)
def test_a_crop_a_batch_and_any_order_see_the_same_numbers(top, left, height, width, key):
    whole = numbers(key % 2**40, (1, 2, 100, 100), (-20, -20))
    crop = numbers(key % 2**40, (1, 2, height, width), (top, left))
    rows, columns = slice(top + 20, top + 20 + height), slice(left + 20, left + 20 + width)
    assert torch.equal(crop, whole[..., rows, columns])
    order = torch.tensor([2, 0, 1])
    place = LrPosition(torch.tensor([key, key // 2, 7]), torch.tensor([[0, 0], [top, left], [5, 5]]))
    batch = torch.stack(pixel_uniforms(place, torch.Size((3, 1, height, width))))
    turned = LrPosition(place.keys[order], place.origins[order])
    again = torch.stack(pixel_uniforms(turned, torch.Size((3, 1, height, width))))
    assert torch.equal(batch[:, order], again)


def test_keys_of_an_image_are_63_bits_and_differ_in_every_acquisition():
    keys = [noise_key(f"image {index}", acquisition) for index in range(500) for acquisition in range(4)]
    assert len(set(keys)) == 2000
    assert all(0 <= key < 2**63 for key in keys)
    assert noise_key("particles/0001") == noise_key("particles/0001", 0)
    assert_uniform(np.array(keys) / 2.0**63)


@pytest.mark.gpu
def test_cuda_gives_the_same_bits():
    place = LrPosition.whole(*(noise_key("a", index) for index in range(4)))
    shape = torch.Size((4, 3, 65, 33))
    for here, there in zip(
        pixel_uniforms(place, shape), pixel_uniforms(place.to("cuda"), shape), strict=True
    ):
        assert torch.equal(here, there.cpu())
