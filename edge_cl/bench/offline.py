"""The bound: a logistic regression that has all latents at once."""

from __future__ import annotations

import random
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edge_cl.demo.images import ByLabel, LabelledImages
from edge_cl.equations import power_l2
from edge_cl.errors import MissingExtra
from edge_cl.extractor import Extractor, load_extractor
from edge_cl.types import Float32

Labels: TypeAlias = npt.NDArray[np.str_]

STRENGTHS = (10.0, 100.0, 1000.0)
"""Inverse regularisations that are tried, for latents of unit length."""
STANDARD_STRENGTHS = (0.01, 0.1, 1.0)
"""The same for latents whose every value has mean 0 and deviation 1."""
HELD_OUT = 0.1
EXTRACT_IMAGES = 64


def offline_accuracy(extractor: str, images: LabelledImages) -> float:
    """Test accuracy of a logistic regression on the latents of all training images."""
    loaded = load_extractor(extractor)
    return logistic_accuracy(*latents_of(loaded, images.train), *latents_of(loaded, images.test))


def logistic_accuracy(train: Float32, labels: Labels, test: Float32, test_labels: Labels) -> float:
    """Test accuracy of the best logistic regression that can be found without the test samples.

    Latents are taken as they are or standardised, whichever is better, with the
    regularisation that is better, on a tenth of the training samples that is held
    out; the regression is then fitted to all of them.
    """
    held_out = np.arange(len(train)) < max(1, round(HELD_OUT * len(train)))
    shift, scale = train.mean(axis=0), train.std(axis=0) + np.float32(1e-6)
    forms = (
        (train, test, STRENGTHS),
        ((train - shift) / scale, (test - shift) / scale, STANDARD_STRENGTHS),
    )
    trials = []
    for form, test_form, strengths in forms:
        learn, choose = (form[~held_out], labels[~held_out]), (form[held_out], labels[held_out])
        trials += [
            (_score(strength, *learn, *choose), strength, form, test_form) for strength in strengths
        ]
    _, strength, form, test_form = max(trials, key=lambda trial: trial[0])
    return _score(strength, form, labels, test_form, test_labels)


def latents_of(extractor: Extractor, images: ByLabel) -> tuple[Float32, Labels]:
    """Normalised latents (N, D) of all images, shuffled, and their labels."""
    labelled = [(label, image) for label in sorted(images) for image in images[label]]
    random.Random(0).shuffle(labelled)
    codes = []
    for first in range(0, len(labelled), EXTRACT_IMAGES):
        batch = labelled[first : first + EXTRACT_IMAGES]
        codes.append(extractor.extract(np.stack([extractor.prepare(image) for _, image in batch])))
    latents = extractor.spec.to_float(np.concatenate(codes))
    return power_l2(latents), np.array([label for label, _ in labelled])


def _score(
    strength: float, train: Float32, labels: Labels, test: Float32, test_labels: Labels
) -> float:
    try:
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingExtra("the offline logistic regression", "bench") from error
    # On small matrices several threads lose more time in waiting than they save.
    with threadpool_limits(1):
        model = LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(train, labels)
        return float(model.score(test, test_labels))
