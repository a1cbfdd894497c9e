import json

import numpy as np
import pytest

from edge_cl.bench import extractor as bench
from edge_cl.bench.probes import Measured, episodes, probe, remembered, standardised


def clouds(count, classes, dim=8, spread=0.3, seed=0):
    """Gaussian clouds around one corner a class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    latents = np.eye(classes, dim)[labels] + spread * rng.normal(size=(count, dim))
    return latents.astype(np.float32), labels


def test_probe_finds_separable_classes():
    pytest.importorskip("sklearn", reason="the probe needs the extra bench")
    train, test = clouds(900, 4), clouds(400, 4, seed=1)
    measured = probe(*train, *test, seed=0)
    assert measured.percent > 90
    assert 0 < measured.interval < 4


def test_probe_of_noise_is_chance():
    pytest.importorskip("sklearn", reason="the probe needs the extra bench")
    train, test = clouds(900, 4, spread=1e3), clouds(1000, 4, spread=1e3, seed=1)
    assert 18 < probe(*train, *test, seed=0).percent < 32


def test_episodes_between_chance_and_certainty():
    easy = episodes(*clouds(400, 8, spread=0.01), seed=0, count=50)
    assert easy.percent == 100
    hard = episodes(*clouds(400, 8, spread=1e3), seed=0, count=200)
    assert 15 < hard.percent < 25
    assert 0.3 < hard.interval < 3


def test_episodes_repeat_with_the_seed():
    latents, labels = clouds(400, 8, spread=1.0)
    assert episodes(latents, labels, 3, count=20) == episodes(latents, labels, 3, count=20)
    assert episodes(latents, labels, 3, count=20) != episodes(latents, labels, 4, count=20)


def test_remembered_figures_are_not_measured_again(tmp_path):
    path = tmp_path / "figure.json"
    assert remembered(path, lambda: Measured(50.0, 1.0)).percent == 50
    assert remembered(path, lambda: Measured(60.0, 1.0)).percent == 50
    assert remembered(None, lambda: Measured(60.0, 1.0)).percent == 60


def test_standardised_over_the_first_rows():
    latents, _ = clouds(100, 4)
    scaled = standardised(latents, 60)
    assert np.allclose(scaled[:60].mean(0), 0, atol=1e-5)
    assert np.allclose(scaled[:60].std(0), 1, atol=1e-3)


def test_cpu_time_of_models_taking_turns():
    def burn(rounds):
        return lambda: sum(range(rounds))

    models = [
        bench.Model(name, "", 0, 1, 1, lambda items: np.zeros((0, 1)), burn(rounds))
        for name, rounds in (("small", 2_000), ("large", 200_000))
    ]
    small, large = bench.cpu_ms(models, rounds=5)
    assert 0 < small < large


def test_page_says_what_was_not_measured():
    report = bench.Report("one", "ab" * 32, 2_000_000, 384, 64, cpu_ms=0.5)
    report.probes["cifar10"] = Measured(80.0, 0.8)
    cost = bench.Cost(
        100, 0.99, 0.9, 0.26, 0.3, {"cifar10": {"int8": 1.0, "float32": 2.0, "lost_points": 1.0}}
    )
    page = bench.markdown([report], cost, {"seed": 0})
    assert "| one | 2000 | 64 | 384 | 80.00 ± 0.80 | not measured |" in page
    assert "File 26.0 %, CPU time 30 % of float32." in page
    assert "- seed: 0" in page


def test_commands_in_results_hold_no_folders():
    public = bench._public(["bench", "extractor", "--packs", "/srv/packs", "--seed", "3"])
    assert public == ["--packs", "packs", "--seed", "3"]


def test_surroundings_are_json():
    assert json.loads(json.dumps(bench.surroundings(7)))["seed"] == 7
