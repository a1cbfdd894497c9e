"""One run: what is taught, what is asked, and what is recorded."""

import pytest

from edge_cl.bench import streams
from edge_cl.bench.trial import Examination, OutOfTime, Trial, accuracy
from edge_cl.errors import ContextRequired
from edge_cl.learner import Learner

from .synthetic import clusters


def learner(strategy="ncm", **options):
    return Learner.create(strategy=strategy, dim=8, memory_budget="256KiB", options=options)


def test_a_good_learner_on_separable_classes():
    stream = streams.class_incremental(clusters())
    found = Trial(learner(), stream).run()
    figures = found.figures(stream)
    assert figures["accuracy"] == 1
    assert figures["forgetting"] == 0
    assert figures["any_time"] == 1
    assert found.accuracies.tolist() == [[1, 0], [1, 1]]
    assert found.untrained.tolist() == [0, 0]
    assert found.most_bytes == sum(found.ledger.values())
    assert found.learn_us > 0


def test_a_naive_learner_forgets():
    stream = streams.class_incremental(clusters())
    figures = Trial(learner("naive"), stream).run().figures(stream)
    assert figures["forgetting"] == 1
    assert figures["backward_transfer"] == -1
    assert figures["accuracy"] == 0.5


def test_tests_are_evenly_spaced_and_at_the_ends():
    stream = streams.class_incremental(clusters(per_class=200))
    found = Trial(learner(), stream, Examination(points=4)).run()
    assert found.seen == [200, 400, 600, 800]


def test_every_sample_is_taught_once_with_its_context():
    subject = learner()
    stream = streams.task_incremental(clusters())
    Trial(subject, stream).run()
    assert subject.samples_seen == len(stream) == 120
    assert subject.contexts == ("context 0", "context 1")


def test_prequential_accuracy_is_of_what_comes():
    stream = streams.iid(clusters(per_class=100))
    found = Trial(learner(), stream, Examination(prequential=True)).run()
    assert found.prequential == 1
    assert Trial(learner(), stream).run().prequential is None


def test_domains_to_come_are_asked():
    domains = [clusters(), clusters()]
    found = Trial(learner(), streams.domain_incremental(domains)).run()
    assert found.accuracies[0, 1] == 1


def test_out_of_time_says_how_far_it_came():
    with pytest.raises(OutOfTime, match="of 120 samples"):
        Trial(learner(), streams.iid(clusters(), 1), Examination(limit_s=0)).run()


def test_what_the_learner_refuses_comes_through():
    with pytest.raises(ContextRequired):
        Trial(learner("naive", softmax_over="context"), streams.iid(clusters())).run()


def test_unmet_contexts_and_classes_count_as_wrong():
    tests = streams.task_incremental(clusters()).tests
    assert accuracy(learner(), tests[0]) == 0
