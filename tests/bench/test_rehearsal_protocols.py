"""The published protocols of rehearsal, in small: relations hold, and results are whole."""

import numpy as np
import pytest

from edge_cl.bench.datasets import mnist
from edge_cl.bench.protocols import er_mir, gdumb, gem
from edge_cl.errors import EdgeCLError


@pytest.fixture(scope="module", autouse=True)
def digits():
    try:
        read = mnist()
    except (EdgeCLError, OSError) as reason:
        pytest.skip(f"no MNIST pack here: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        for module in (er_mir, gdumb, gem):
            patch.setattr(module, "mnist", lambda: read)
        yield read


def test_replay_beats_fine_tuning_online():
    found = {method: er_mir.run(method, 0, quick=True) for method in ("naive", "er", "mir")}
    for method in ("er", "mir"):
        assert found[method]["accuracy"] > found["naive"]["accuracy"] + 0.2
        assert found[method]["forgetting"] < found["naive"]["forgetting"]
    assert [len(line) for line in found["mir"]["matrix"]] == [1, 2, 3, 4, 5]


def test_gem_forgets_less_than_fine_tuning():
    found, naive = (gem.run(method, 0, quick=True) for method in ("gem", "naive"))
    assert found["accuracy"] > naive["accuracy"]
    assert found["backward_transfer"] > naive["backward_transfer"]


def test_gdumb_keeps_ten_of_each_digit_and_learns_from_them():
    found = gdumb.run("m300-mlp100", 0, quick=True)
    assert found["kept"] == [10] * 10
    assert found["accuracy"] > 0.5


def test_a_run_is_repeatable():
    one, two = (er_mir.run("er", 3, quick=True) for _ in range(2))
    assert one["matrix"] == two["matrix"]


def test_a_shifted_image_is_moved_whole():
    image = np.zeros((1, 28, 28), dtype=np.float32)
    image[0, 10:14, 12:15] = np.arange(12).reshape(4, 3)
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(200):
        moved = gdumb.shifted(image.reshape(1, -1), rng).reshape(28, 28)
        down, right = np.argwhere(moved == 11)[0] - (13, 14)
        np.testing.assert_array_equal(moved, np.roll(image[0], (down, right), (0, 1)))
        places.add((int(down), int(right)))
    assert min(min(place) for place in places) == -4
    assert max(max(place) for place in places) == 4
