from __future__ import annotations

import numpy as np
import pytest

from edge_cl.codec import make_codec
from edge_cl.codec.pq import CENTROIDS, k_means, nearest
from edge_cl.errors import CheckpointError
from edge_cl.memory import ReplayMemory
from edge_cl.types import Batch, Float32, LatentSpec


def clustered(n: int, dim: int = 24, seed: int = 0) -> Float32:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).gamma(1, 3, (20, dim))
    return np.abs(centres[rng.integers(0, 20, n)] + rng.normal(0, 0.3, (n, dim))).astype("f4")


@pytest.mark.parametrize("dim", [1, 7, 8, 20])
@pytest.mark.parametrize("n", [1, 200, 600])
def test_shapes_and_bound(dim: int, n: int) -> None:
    latents = clustered(n, dim)
    codec = make_codec("pq", LatentSpec(dim)).widened(latents)
    codes = codec.encode(latents)
    assert codes.shape == (n, -(-dim // 8))
    error = np.abs(codec.decode(codes) - latents)
    assert error.max() <= codec.error_bound()
    if n <= CENTROIDS:
        np.testing.assert_allclose(codec.decode(codes), latents, rtol=1e-3)


def test_nearest_agrees_with_brute_force() -> None:
    rng = np.random.default_rng(0)
    points, words = rng.normal(size=(50, 8)).astype("f4"), rng.normal(size=(256, 8)).astype("f4")
    brute = ((points[:, None] - words) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest(points, words), brute)


def test_k_means_lowers_the_error_of_its_start() -> None:
    points = clustered(1000, 8)
    words = k_means(points, np.random.default_rng(0))
    start = points[np.random.default_rng(0).permutation(1000)[:CENTROIDS]]
    error = [((points - w[nearest(points, w)]) ** 2).sum() for w in (start, words)]
    assert error[1] < 0.8 * error[0]


@pytest.mark.parametrize("spec", [LatentSpec(24), LatentSpec(24, scale=0.1)])
def test_bytes_are_constant_and_training_is_deterministic(spec: LatentSpec) -> None:
    fresh = make_codec("pq", spec)
    one, two = (fresh.widened(clustered(300)) for _ in range(2))
    assert fresh.ledger_bytes() == one.ledger_bytes() == 24 * 256 * (1 if spec.scale else 2) + 8
    np.testing.assert_array_equal(one.encode(clustered(9)), two.encode(clustered(9)))
    twin = make_codec("pq", spec)
    twin.restore(one.arrays())
    np.testing.assert_array_equal(twin.encode(clustered(9)), one.encode(clustered(9)))
    with pytest.raises(CheckpointError):
        twin.restore({})
    with pytest.raises(ValueError, match="no codebook"):
        fresh.encode(clustered(3))


def test_the_memory_trains_it_sample_by_sample() -> None:
    """Learned online, the root mean square error is about twice that of learning at once."""
    latents, spec = clustered(1104), LatentSpec(24)
    mem, rng = ReplayMemory(make_codec("pq", spec), 1104), np.random.default_rng(0)
    for i in range(0, 1104, 16):
        mem.add(Batch.of(latents[i : i + 16], np.zeros(16, np.int64)), rng)
    assert not mem.codec.wants_training(10**9)
    at_once = make_codec("pq", spec).widened(latents)
    online = np.square(mem.all().latents - latents).mean()
    batch = np.square(at_once.decode(at_once.encode(latents)) - latents).mean()
    assert online < 5 * batch
    fixed = mem.bytes_for(mem.codec.row_bytes, 1104, "reservoir")
    assert sum(mem.ledger_bytes().values()) == fixed + mem.codec.ledger_bytes()


def test_up_to_256_rows_are_exact_though_classes_come_late() -> None:
    latents, spec = clustered(256), LatentSpec(24, scale=0.1)
    latents[128:] += 20
    latents = spec.to_float(spec.to_codes(latents))
    mem, rng = ReplayMemory(make_codec("pq", spec), 256), np.random.default_rng(0)
    for i in range(256):
        mem.add(Batch.of(latents[i : i + 1], np.array([i // 128])), rng)
    np.testing.assert_allclose(mem.all().latents, latents, atol=1e-5)
