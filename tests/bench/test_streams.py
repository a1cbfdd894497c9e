"""Streams: every sample once, seeds, scenarios; real packs where they are."""

from dataclasses import replace

import numpy as np
import pytest

from edge_cl.bench import streams
from edge_cl.bench.datasets import Dataset, balanced_rows, mnist, packs_folder, read_idx
from edge_cl.errors import EdgeCLError
from edge_cl.types import LatentSpec


def small(classes=6, per_class=40, tests=5, dim=9):
    """Each row names its own number, so that tests can see which rows came."""
    rng = np.random.default_rng(0)
    train_classes = rng.permutation(np.repeat(np.arange(classes), per_class))
    test_classes = np.repeat(np.arange(classes), tests)
    train = np.repeat(np.arange(len(train_classes), dtype=np.float32)[:, None], dim, 1)
    test = -np.repeat(np.arange(len(test_classes), dtype=np.float32)[:, None], dim, 1)
    labels = tuple(f"c{k}" for k in range(classes))
    spec = LatentSpec(dim)
    return Dataset("small", spec, labels, train, train_classes, test, test_classes)


def shares(count):
    """Domains that divide the samples of `small` among them."""
    whole = small()
    return [
        replace(whole, train=whole.train[k::count], train_classes=whole.train_classes[k::count])
        for k in range(count)
    ]


ALL = {
    "class": lambda seed: streams.class_incremental(small(), 2, seed),
    "task": lambda seed: streams.task_incremental(small(), 3, seed),
    "domain": lambda seed: streams.domain_incremental(shares(3), seed),
    "bursts": lambda seed: streams.bursts(small(), first_samples=10, burst_samples=10, seed=seed),
    "blurry": lambda seed: streams.blurry(small(), 2, seed=seed),
    "iid": lambda seed: streams.iid(small(), 4, seed),
}


def met(stream):
    return np.concatenate([part.latents[:, 0] for part in stream.experiences])


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_every_sample_comes_once_and_seeds_decide(make):
    rows = met(make(0))
    assert sorted(rows) == list(range(240))
    assert met(make(0)).tolist() == rows.tolist()
    assert met(make(1)).tolist() != rows.tolist()


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_labels_belong_to_their_latents(make):
    source = small()
    for part in make(0).experiences:
        expected = [source.labels[source.train_classes[int(row)]] for row in part.latents[:, 0]]
        assert part.labels == expected
        assert part.latents.dtype == np.float32


def test_class_groups_are_disjoint_and_tests_match_them():
    stream = streams.class_incremental(small(), 2, seed=3)
    groups = [set(part.labels) for part in stream.experiences]
    assert [len(group) for group in groups] == [2, 2, 2]
    assert len(set.union(*groups)) == 6
    assert [set(part.labels) for part in stream.tests] == groups
    assert all(part.context is None for part in stream.experiences)


def test_task_contexts_are_told_in_learning_and_testing():
    stream = streams.task_incremental(small(), 2)
    assert [p.context for p in stream.experiences] == ["context 0", "context 1", "context 2"]
    assert [p.context for p in stream.tests] == [p.context for p in stream.experiences]


def test_split_domain_gives_the_place_in_the_group():
    stream = streams.split(small(), "domain", order=[4, 1, 0, 2, 3, 5])
    first = stream.experiences[0]
    source = small().train_classes[first.latents[:, 0].astype(int)]
    assert {(int(c), label) for c, label in zip(source, first.labels, strict=True)} == {
        (4, "place 0"),
        (1, "place 1"),
    }


def test_split_draws_so_many_samples():
    stream = streams.split(small(), samples=7)
    assert streams.experience_lengths(stream) == [7, 7, 7]
    assert streams.boundaries(stream) == [7, 14, 21]


def test_domains_keep_their_labels_and_share_the_samples():
    domains = shares(3)
    stream = streams.domain_incremental(domains)
    assert all(set(part.labels) == set(domains[0].labels) for part in stream.experiences)
    assert streams.experience_lengths(stream) == [80, 80, 80]


def test_bursts_have_one_class_each():
    stream = streams.bursts(small(), first_samples=10, burst_samples=10)
    sizes = [len(set(part.labels)) for part in stream.experiences]
    assert sizes == [2] + [1] * 22
    for test, first in zip(stream.tests, stream.learned_at, strict=True):
        label = test.labels[0]
        assert label in stream.experiences[first].labels
        assert all(label not in part.labels for part in stream.experiences[:first])


def test_blurry_mixes_neighbours_linearly_and_only_there():
    big = small(classes=4, per_class=3000)
    stream = streams.blurry(big, 2, fuzziness=0.25)
    classes = np.concatenate([part.classes for part in stream.experiences])
    late = np.isin(classes, list(streams.class_order(4, 0))[2:])
    where = np.arange(len(late)) / len(late) * 2
    assert not late[where < 0.74].any()
    assert late[where > 1.26].all()
    assert late[abs(where - 1) < 0.02].mean() == pytest.approx(0.5, abs=0.06)
    assert late[abs(where - 1.125) < 0.02].mean() == pytest.approx(0.75, abs=0.06)


def test_blurry_without_fuzziness_is_sharp():
    stream = streams.blurry(small(), 2, fuzziness=0)
    assert [len(set(part.labels)) for part in stream.experiences] == [2, 2, 2]


def test_permuted_keeps_the_first_context_and_the_values():
    source = small()
    rng = np.random.default_rng(0)
    source = Dataset(
        "noise", source.spec, source.labels, rng.random((240, 9), np.float32),
        source.train_classes, rng.random((30, 9), np.float32), source.test_classes,
    )  # fmt: skip
    stream = streams.permuted(source, 3, samples=20)
    assert stream.tests[0].latents.tolist() == source.test.tolist()
    for part in stream.tests[1:]:
        assert part.latents.tolist() != source.test.tolist()
        assert np.sort(part.latents, 1).tolist() == np.sort(source.test, 1).tolist()
    assert streams.experience_lengths(stream) == [20, 20, 20]
    contexts = [p.context for p in streams.permuted(source, 2, "task").experiences]
    assert contexts == ["context 0", "context 1"]


def test_quarter_turns_are_exact():
    image = np.random.default_rng(0).random((1, 28, 28)).astype(np.float32)
    turned = streams.rotate_rows(image.reshape(1, -1), 90).reshape(28, 28)
    assert turned == pytest.approx(np.rot90(image[0]), abs=1e-5)
    assert streams.rotate_rows(image.reshape(1, -1), 0).reshape(28, 28) == pytest.approx(image[0])


def test_turning_keeps_what_lies_in_the_middle():
    spot = np.zeros((28, 28), np.float32)
    spot[10:18, 10:18] = 1
    turned = streams.rotate_rows(spot.reshape(1, -1), 30)
    assert turned.sum() == pytest.approx(64, rel=0.02)
    there_and_back = streams.rotate_rows(turned, -30).reshape(28, 28)
    assert there_and_back[12:16, 12:16] == pytest.approx(1, abs=1e-5)


def test_a_part_is_balanced():
    source = small().part(20, 8)
    counts = np.bincount(source.train_classes)
    assert len(source.train) == 20
    assert set(counts) == {3, 4}
    assert (source.train[:, 0] >= 0).all()
    rows = balanced_rows(np.array([0, 0, 0, 1]), 3, np.random.default_rng(0))
    assert sorted(np.array([0, 0, 0, 1])[rows]) == [0, 0, 1]


def test_idx_files():
    content = bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9])
    assert read_idx(content).tolist() == [[7, 8, 9]]
    with pytest.raises(EdgeCLError, match="no IDX file"):
        read_idx(b"\x00\x00\x0d\x01" + bytes(8))


def test_absent_packs_are_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_CL_SHARED", str(tmp_path / "nowhere"))
    with pytest.raises(EdgeCLError, match="EDGE_CL_SHARED"):
        packs_folder()


def test_mnist_pack():
    try:
        packs_folder()
    except EdgeCLError as reason:
        pytest.skip(str(reason))
    digits = mnist()
    assert (len(digits.train), len(digits.test)) == (60_000, 10_000)
    pixels = digits.part(100, 10).train_latents()
    assert pixels.dtype == np.float32
    assert pixels.min() == 0
    assert pixels.max() == 1
    stream = streams.split(digits)
    assert set(stream.experiences[0].labels) == {"0", "1"}
