"""Names with settings: one form for one meaning, round trips through ids, and errors that help."""

import math

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from srbench.datasets import degrade
from srbench.utils.errors import DatasetError


def test_names_ids_and_versions():
    assert degrade.names()[0] == "bicubic"
    assert degrade.get("bicubic").id == "bicubic@1"
    assert degrade.get("area@1") is degrade.get("area")
    with pytest.raises(DatasetError, match="did you mean 'bicubic'"):
        degrade.get("bicubik")
    with pytest.raises(DatasetError, match=r"makes bicubic@1, not bicubic@7.*Use 'bicubic'"):
        degrade.get("bicubic@7")
    with pytest.raises(DatasetError, match=r"makes sem_pixel:dose=20@1, not .*Use 'sem_pixel:dose=20'"):
        degrade.get("sem_pixel:dose=20@0")


@pytest.mark.parametrize(
    ("written", "identity"),
    [
        ("sem_pixel", "sem_pixel@1"),
        ("sem_pixel:dose=60", "sem_pixel@1"),
        ("sem_pixel:dose=60.0,read=0.010@1", "sem_pixel@1"),
        ("sem_pixel:dose=20", "sem_pixel:dose=20@1"),
        ("sem_pixel:jitter=.30, dose=2e1", "sem_pixel:dose=20,jitter=0.3@1"),
        ("sem_pixel:dose=inf", "sem_pixel:dose=inf@1"),
        ("sem_defocus:dose=Infinity,spot=0.5", "sem_defocus:dose=inf,spot=0.5@1"),
        ("sem_defocus:spot=0.6", "sem_defocus@1"),
        ("sem_pixel:astigmatism=1.2,angle=0", "sem_pixel:angle=0,astigmatism=1.2@1"),
        ("sem_lowdose:dose=123.4567", "sem_lowdose:dose=123.457@1"),
    ],
)
def test_one_meaning_has_one_id_and_is_one_object(written, identity):
    found = degrade.get(written)
    assert found.id == identity
    assert degrade.get(identity) is found
    assert all(f"{value:g}" == f"{float(f'{value:g}'):g}" for value in found.settings.values())


@st.composite
def any_settings(draw):
    card = draw(st.sampled_from([card for card in degrade.cards() if card.settings]))
    given_ones = {}
    for setting in draw(st.lists(st.sampled_from(card.settings), unique=True)):
        value = draw(st.floats(setting.low, setting.high))
        given_ones[setting.name] = draw(st.sampled_from([value, setting.default or value]))
    return card, given_ones


@pytest.mark.slow
@hypothesis_settings(max_examples=300, deadline=None)
@given(case=any_settings(), order=st.randoms(use_true_random=False))
def test_ids_round_trip_and_the_order_of_settings_does_not_matter(case, order):
    card, values = case
    listed = [f"{name}={value!r}" for name, value in values.items()]
    text = f"{card.name}:{','.join(listed)}" if listed else card.name
    try:
        found = degrade.get(text)
    except DatasetError as error:
        assert "no effect" in str(error) or "dose_to" in values
        return
    order.shuffle(listed)
    assert degrade.get(found.id) is found
    assert degrade.get(f"{card.name}:{','.join(listed)}" if listed else card.name) is found
    defaults = {setting.name: setting.default for setting in card.settings}
    assert all(found.settings[name] == pytest.approx(value, rel=1e-5) for name, value in values.items())
    assert list(found.changed) == sorted(found.changed)
    assert all(found.changed[name] != defaults[name] for name in found.changed)
    assert found.reach < 200


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("sem_pixel:doze=60", r"unknown setting 'doze' \(did you mean 'dose'\?\).*Known: dose, read"),
        ("sem_pixel:jiter=0.3", r"did you mean 'jitter'"),
        ("sem_pixell", r"Unknown degradation 'sem_pixell' \(did you mean 'sem_pixel'\?\)"),
        ("sem_pixel:dose", r"expected settings as name=value, found 'dose'"),
        ("sem_pixel:", r"expected settings as name=value, found ''"),
        ("sem_pixel:dose=many", r"expected a number for dose \(1 to 100000 or inf\), found 'many'"),
        ("sem_pixel:dose=0", r"dose=0 is out of range; expected 1 to 100000 or inf \(electrons counted"),
        ("sem_pixel:dose=nan", r"dose=nan is out of range"),
        ("sem_pixel:dose=-inf", r"dose=-inf is out of range"),
        ("sem_pixel:jitter=inf", r"jitter=inf is out of range; expected 0 to 2"),
        ("sem_pixel:read=1", r"read=1 is out of range; expected 0 to 0.2"),
        ("sem_pixel:dose=20,dose=30", r"dose is given twice"),
        ("sem_pixel:tau=3", r"tau has no effect without charging; give charging too \(0 to 0.5\)"),
        ("sem_pixel:charging=0,tau=3", r"tau has no effect without charging"),
        ("sem_pixel:angle=3", r"angle has no effect without astigmatism"),
        ("sem_pixel:dose=inf,read=0.05", r"read has no effect with dose=inf"),
        ("bicubic:dose=60", r"bicubic takes no settings, found 'dose=60'; write 'bicubic'"),
        ("sem_lowdose:jitter=1", r"sem_lowdose: unknown setting 'jitter'"),
        ("", r"Unknown degradation ''"),
    ],
)
def test_mistakes_are_told_with_what_was_expected(written, message):
    with pytest.raises(DatasetError, match=message):
        degrade.get(written)


def test_an_infinite_dose_is_free_of_noise_and_of_keys():
    assert degrade.get("sem_pixel:dose=inf").noise is None
    assert not degrade.get("sem_pixel:dose=inf").stochastic
    assert degrade.get("sem_pixel:dose=inf,jitter=0.2").stochastic
    assert degrade.get("sem_pixel:dose=inf,astigmatism=1.2").stochastic
    assert not degrade.get("sem_pixel:dose=inf,astigmatism=1.2,angle=0").stochastic


def test_the_table_says_what_can_be_set_and_its_defaults_work():
    cards = {card.name: card for card in degrade.cards()}
    assert list(cards) == degrade.names()
    assert cards["sem_lowdose"].scales == (1,)
    assert {setting.name for setting in cards["sem_pixel"].settings} >= {"dose", "read", "pedestal", "jitter"}
    for card in cards.values():
        made = degrade.get(card.name)
        assert (made.version, made.summary, made.scales) == (card.version, card.summary, card.scales)
        for setting in card.settings:
            assert setting.meaning and setting.low < setting.high
            if setting.default is not None:
                assert setting.low <= setting.default <= setting.high
                assert made.settings[setting.name] == setting.default


def test_reach_follows_from_the_settings():
    """Five sigmas of the spot, four of jitter, half the drift, less the half pixel that is one's own."""
    assert degrade.get("sem_pixel").reach == math.ceil(5 * 0.35 - 0.5)
    assert degrade.get("sem_defocus").reach == math.ceil(5 * 0.6 - 0.5)
    assert degrade.get("sem_pixel:jitter=0.5").reach == math.ceil(5 * 0.35 - 0.5 + 2)
    assert degrade.get("sem_pixel:drift=4").reach == math.ceil(5 * 0.35 - 0.5 + 2)
    assert degrade.get("sem_pixel:charging=0.1,tau=2").reach == 2 + math.ceil(2 * math.log(1000))
    assert degrade.get("sem_lowdose").reach == 0
