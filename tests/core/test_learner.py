from __future__ import annotations

import numpy as np
import pytest

from edge_cl import LatentSpec, Learner, errors, strategies
from edge_cl.checks import assert_same_state, stream

SPEC = LatentSpec(8, scale=0.02)


def learner(**settings) -> Learner:
    return Learner.create(
        **{"strategy": "ar1", "spec": SPEC, "memory_budget": "64KiB", "seed": 3, **settings}
    )


def taught(**settings) -> Learner:
    made = learner(**settings)
    stream(SPEC, 60).teach(made, 0, 60)
    return made


def test_it_learns_and_predicts_labels():
    source, made = stream(SPEC, 60), taught()
    found = made.predict_latents(source.latents, top_k=3)
    assert np.mean([p.label == label for p, label in zip(found, source.labels, strict=True)]) > 0.8
    assert [len(p.top) for p in found[:2]] == [3, 3]
    assert found[0].top[0] == (found[0].label, found[0].score)
    assert sum(score for _, score in made.predict_latents(source.latents[:1], top_k=9)[0].top) == (
        pytest.approx(1)
    )


def test_what_is_known_of_it():
    made, source = taught(), stream(SPEC, 60)
    assert made.strategy == "ar1"
    assert made.dim == 8
    assert made.samples_seen == 60
    assert made.class_counts["class 0"] == source.labels.count("class 0")
    assert made.contexts == ("context 0", "context 1", "context 2")
    assert made.options["codec"] == "uint4"
    assert made.memory_budget == 65536
    version = made.version
    made.end_experience()
    assert made.version == version + 1


def test_codes_and_the_floats_they_stand_for_are_the_same_latents():
    codes = np.random.default_rng(0).integers(0, 200, (20, 8), dtype=np.uint8)
    labels = [f"{n % 3}" for n in range(20)]
    one, other = learner(), learner()
    one.learn_latents(codes, labels)
    other.learn_latents(SPEC.to_float(codes), labels)
    assert_same_state(one, other)


@pytest.mark.parametrize("strategy", ["ar1", "latent_replay", "ncm", "gdumb", "cwr", "naive"])
def test_samples_one_by_one_or_together_are_the_same_lesson(strategy):
    source = stream(SPEC, 30)
    one, other = learner(strategy=strategy), learner(strategy=strategy)
    source.teach(one, 0, 30, step=1)
    source.teach(other, 0, 30, step=30)
    if strategy == "ncm":
        np.testing.assert_allclose(one._strategy.total, other._strategy.total)
    else:
        assert_same_state(one, other)


def test_no_class_yet_is_said_so():
    prediction = learner().predict_latents(np.zeros((1, 8), np.float32))[0]
    assert (prediction.label, prediction.score, prediction.unknown) == ("", 0.0, True)


def test_nothing_to_learn_changes_nothing():
    made = taught()
    version = made.version
    made.learn_latents(np.zeros((0, 8), np.float32), [])
    assert made.version == version


@pytest.mark.parametrize(
    ("latents", "labels", "error", "words"),
    [
        (np.zeros((2, 7), np.float32), ["a", "b"], errors.InvalidLatent, "8 values"),
        (np.zeros(8, np.float32), ["a"], errors.InvalidLatent, "shape"),
        (np.full((1, 8), np.nan, np.float32), ["a"], errors.InvalidLatent, "finite"),
        (np.full((1, 8), np.inf, np.float32), ["a"], errors.InvalidLatent, "finite"),
        (np.full((1, 8), 1e9, np.float32), ["a"], errors.InvalidLatent, "1e\\+06"),
        (np.zeros((1, 8), np.int64), ["a"], errors.InvalidLatent, "int64"),
        (np.zeros((2, 8), np.float32), ["a"], errors.InvalidLabel, "1 labels"),
        (np.zeros((2, 8), np.float32), "ab", errors.InvalidLabel, "one string"),
        (np.zeros((1, 8), np.float32), [""], errors.InvalidLabel, "empty"),
        (np.zeros((1, 8), np.float32), ["  "], errors.InvalidLabel, "empty"),
        (np.zeros((1, 8), np.float32), [7], errors.InvalidLabel, "int 7"),
        (np.zeros((1, 8), np.float32), ["a\nb"], errors.InvalidLabel, "printed"),
        (np.zeros((1, 8), np.float32), ["x" * 129], errors.InvalidLabel, "128"),
        (np.zeros((1, 8), np.float32), ["\ud800"], errors.InvalidLabel, "Unicode"),
    ],
)
def test_wrong_input_is_refused_and_changes_nothing(latents, labels, error, words):
    made, same = taught(), taught()
    with pytest.raises(error, match=words):
        made.learn_latents(latents, labels)
    with pytest.raises(error, match=words):
        made.check_latents(latents, labels)
    assert_same_state(made, same)
    assert made.version == same.version
    assert made.labels == same.labels


def test_one_bad_sample_refuses_the_whole_call():
    made, same = taught(), taught()
    rows = np.ones((3, 8), np.float32)
    rows[2, 5] = np.nan
    with pytest.raises(errors.InvalidLatent, match="latent 2 has the value nan at index 5"):
        made.learn_latents(rows, ["new", "new", "new"])
    assert_same_state(made, same)


def test_codes_need_a_quantised_extractor():
    made = Learner.create(strategy="ncm", dim=4, memory_budget="8KiB")
    with pytest.raises(errors.InvalidLatent, match="float32"):
        made.learn_latents(np.zeros((1, 4), np.uint8), ["a"])


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"strategy": "magic"}, errors.UnknownStrategy, "ar1"),
        ({"options": {"spped": 3}}, errors.InvalidOption, "'spped' does not exist"),
        ({"options": {"learning_rate": -1}}, errors.InvalidOption, "learning_rate"),
        ({"options": {"codec": "uint5"}}, errors.InvalidOption, "uint4"),
        ({"options": {"selection": "best"}}, errors.InvalidOption, "class_balanced"),
        ({"memory_budget": "lots"}, errors.InvalidOption, "size"),
        ({"memory_budget": 100}, errors.BudgetExceeded, "memory_budget"),
        ({"spec": None}, errors.InvalidOption, "extractor"),
        ({"spec": None, "dim": 0}, errors.InvalidOption, "between 1"),
    ],
)
def test_wrong_settings_are_refused(settings, error, words):
    with pytest.raises(error, match=words):
        learner(**settings)


def test_an_unknown_context_is_named():
    with pytest.raises(errors.NotFound, match="'kitchen'"):
        taught().predict_latents(np.zeros((1, 8), np.float32), context="kitchen")


def test_images_need_an_extractor():
    with pytest.raises(errors.InvalidOption, match="extractor"):
        taught().learn([b"x"], ["a"])


def test_it_is_saved_and_loaded(tmp_path):
    made = taught()
    made.save(tmp_path / "learner.safetensors")
    loaded = Learner.load(tmp_path / "learner.safetensors")
    assert_same_state(made, loaded)
    assert loaded.labels == made.labels
    assert loaded.class_counts == made.class_counts
    assert loaded.version == made.version
    assert [entry.name for entry in tmp_path.iterdir()] == ["learner.safetensors"]


def test_equal_learners_are_equal_bytes():
    made = taught()
    assert len({made.to_bytes() for _ in range(20)}) == 1


@pytest.mark.parametrize("place", [0, 9, 200, -400, -1])
def test_damage_to_a_saved_learner_is_noticed(place):
    content = bytearray(taught().to_bytes())
    content[place] ^= 0x41
    with pytest.raises(errors.CheckpointError, match=r"damaged|format|no saved learner"):
        Learner.from_bytes(bytes(content))


@pytest.mark.parametrize("length", [0, 7, 100, 5000])
def test_a_truncated_learner_is_refused(length):
    with pytest.raises(errors.CheckpointError, match="damaged"):
        Learner.from_bytes(taught().to_bytes()[:length])


def test_every_strategy_describes_itself():
    for name in strategies.names():
        described = strategies.describe(name)
        assert described["name"] == name == strategies.find(name).name
        assert len(described["summary"]) > 20
        assert described["paper"]
        for option, schema in described["options"]["properties"].items():
            assert schema.get("description"), f"{name}: option {option} has no description"


def test_contexts_may_be_one_for_all_or_one_each():
    made = learner(strategy="ncm")
    made.learn_latents(np.ones((2, 8), np.float32), ["a", "b"], "shop")
    made.learn_latents(np.ones((2, 8), np.float32), ["a", "b"], ["home", None])
    made.learn_latents(np.ones((1, 8), np.float32), ["a"], 7)
    assert made.contexts == ("shop", "home", "7")
    with pytest.raises(errors.InvalidLabel, match="1 contexts"):
        made.learn_latents(np.ones((2, 8), np.float32), ["a", "b"], ["home"])


def test_more_classes_than_fit_are_refused_with_the_bytes_they_need():
    made = learner(strategy="ncm", memory_budget="4KiB")
    with pytest.raises(errors.BudgetExceeded, match="memory_budget") as caught:
        made.learn_latents(np.ones((50, 8), np.float32), [f"class {n}" for n in range(50)])
    assert caught.value.asked_bytes > 4096
    assert made.labels == ()
