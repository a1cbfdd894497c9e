"""The window front end against its formulas, computed another way, and on movements."""

import itertools
import math

import numpy as np
import pytest
from recordings import MOVEMENTS, movement

from edge_cl import Learner
from edge_cl.errors import InvalidOption, InvalidSeries, TooLarge
from edge_cl.frontends import Series, frontend
from edge_cl.frontends.series import FEATURES, windows


def plain_features(z):
    """The 22 values of one channel, by sums over their definitions."""
    n = len(z)
    mean = sum(z) / n
    steps = [b - a for a, b in itertools.pairwise(z)]
    signs = [value - mean >= 0 for value in z]
    found = [
        mean,
        math.sqrt(sum((value - mean) ** 2 for value in z) / n),
        min(z),
        max(z),
        math.sqrt(sum(step * step for step in steps) / (n - 1)),
        sum(a != b for a, b in itertools.pairwise(signs)) / (n - 1),
    ]
    parts = np.array_split(np.arange(n), 8)
    found += [sum(z[index] for index in part) / len(part) for part in parts]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * index / n) for index in range(n)]
    area = n * sum(w * w for w in window)
    for k in range(1, 9):
        power = 1e-6
        for j in range(1, n // 2 + 1):
            if 2.0 ** -(k + 1) < j / n <= 2.0**-k:
                turns = np.exp(-2j * np.pi * j * np.arange(n) / n)
                power += 2 * abs(np.sum(window * (np.array(z) - mean) * turns)) ** 2 / area
        found.append(math.log10(power) / 3 + 1)
    return found


@pytest.mark.parametrize("rows", [8, 50, 129])
def test_features_are_those_of_the_definition(rows):
    readings = np.random.default_rng(rows).normal(3, 2, (rows, 2))
    series = Series(2, centre=[1, 2], scale=[4, 5])
    features = series.features(readings)
    for channel, (centre, scale) in enumerate([(1, 4), (2, 5)]):
        z = [(value - centre) / scale for value in readings[:, channel]]
        assert np.allclose(features[channel], plain_features(z), rtol=1e-9, atol=1e-9)
    codes = series.latents(readings)
    assert codes.shape == (1, 2 * FEATURES) == (1, series.spec.dim)
    error = series.spec.to_float(codes[0]) - np.tanh(features.ravel() / 2)
    assert np.abs(error).max() <= 0.5 / 127 + 1e-6


def test_power_lies_in_the_octave_of_the_frequency():
    rows = np.arange(256)
    for octave, cycles in enumerate((0.4, 0.2, 0.1, 0.05)):
        features = Series().features(np.sin(2 * np.pi * cycles * rows)[:, None])[0, 14:]
        assert int(np.argmax(features)) == octave


def test_one_channel_may_be_a_plain_list():
    flat = [float(number % 5) for number in range(20)]
    nested = [[value] for value in flat]
    assert (Series().code(flat) == Series().code(nested)).all()


def test_a_recording_is_cut_into_windows():
    cut = windows(np.arange(20).reshape(10, 2), rows=4, step=3)
    assert [one[0, 0] for one in cut] == [0, 6, 12]
    assert all(one.shape == (4, 2) for one in cut)


def test_the_same_front_end_comes_out_of_its_options():
    series = Series(3, centre=1, scale=[1, 2, 3])
    again = frontend("series", series.options)
    readings = np.random.default_rng(0).normal(size=(40, 3))
    assert again.options == series.options
    assert (again.code(readings) == series.code(readings)).all()


@pytest.mark.parametrize(
    ("series", "error", "said"),
    [
        ([[1, 2]] * 7, InvalidSeries, "7 rows, at least 8"),
        ([[1, 2]] * 4097, TooLarge, "4,097 rows, at most 4,096"),
        ([[1, 2, 3]] * 9, InvalidSeries, r"shape \(9, 3\), this learner's have 2 channels"),
        ([1, 2] * 9, InvalidSeries, r"shape \(18,\)"),
        ([[1, 2], [3]] * 9, InvalidSeries, "all equally long"),
        ([["1", "2"]] * 9, InvalidSeries, "rows of numbers"),
        ([[None, 2]] * 9, InvalidSeries, "rows of numbers"),
        ([[1, 10**400]] * 9, InvalidSeries, "rows of numbers"),
        ([[1, 2.0]] * 8 + [[1, float("nan")]], InvalidSeries, "row 8, channel 1 is nan"),
        ([[1, 2.0]] * 8 + [[1e10, 1]], InvalidSeries, "at most 1e\\+09"),
        ({"a": 1}, InvalidSeries, "rows of numbers"),
        ([], InvalidSeries, r"shape \(0,\)"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_limit(series, error, said):
    with pytest.raises(error, match=said):
        Series(2).code(series)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"channels": 0}, "channels is 0, 1 to 32"),
        ({"channels": True}, "channels is True"),
        ({"channels": 2, "scale": 0}, "above 0"),
        ({"channels": 2, "scale": [1, 2, 3]}, "one for each of 2 channels"),
        ({"centre": "9.81"}, "one finite number"),
        ({"centre": float("inf")}, "one finite number"),
        ({"chanels": 2}, "no option 'chanels'; its options: centre, channels, scale"),
    ],
)
def test_options_that_cannot_be_used(options, said):
    with pytest.raises(InvalidOption, match=said):
        frontend("series", options)
    with pytest.raises(InvalidOption, match="there are sound, series"):
        frontend("smell", {})
    with pytest.raises(InvalidOption, match="its options: none"):
        frontend("sound", {"rate": 1})


def test_a_learner_knows_movements_taught_class_after_class():
    """20 of each of four kinds, in sequence, held any way round; chance is 0.25."""
    rng = np.random.default_rng(1)
    series = Series(3, scale=9.81)
    learner = Learner.create(spec=series.spec, memory_budget="128KiB")
    for kind in MOVEMENTS:
        for _ in range(20):
            learner.learn_latents(series.latents(movement(kind, rng)), [kind])
    asked = [kind for kind in MOVEMENTS for _ in range(25)]
    answers = learner.predict_latents(series.latents([movement(kind, rng) for kind in asked]))
    right = [one.label == kind for one, kind in zip(answers, asked, strict=True)]
    assert np.mean(right) >= 0.88
