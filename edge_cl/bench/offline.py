"""The bound: a logistic regression that has all latents at once."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt

from edge_cl.demo.images import ByLabel, LabelledImages
from edge_cl.equations import power_l2
from edge_cl.errors import MissingExtra
from edge_cl.extractor import Extractor, load_extractor
from edge_cl.types import Float32

STRENGTHS = (10.0, 100.0, 1000.0)
"""Inverse regularisations that are tried, for latents of unit length."""
HELD_OUT = 0.1
EXTRACT_IMAGES = 64


def offline_accuracy(extractor: str, images: LabelledImages) -> float:
    """Test accuracy of a logistic regression on the latents of all training images.

    Its regularisation is chosen on a tenth of the training images that is held
    out, and it is then fitted to all of them.
    """
    loaded = load_extractor(extractor)
    train, train_labels = latents_of(loaded, images.train)
    test, test_labels = latents_of(loaded, images.test)
    held_out = np.random.default_rng(0).random(len(train)) < HELD_OUT
    if not held_out.any() or held_out.all():
        held_out[:1] = ~held_out[:1]
    best = max(
        STRENGTHS,
        key=lambda strength: _fitted_accuracy(
            strength,
            (train[~held_out], train_labels[~held_out]),
            (train[held_out], train_labels[held_out]),
        ),
    )
    return _fitted_accuracy(best, (train, train_labels), (test, test_labels))


def latents_of(extractor: Extractor, images: ByLabel) -> tuple[Float32, npt.NDArray[np.str_]]:
    """Normalised latents (N, D) of all images, shuffled, and their labels."""
    labelled = [(label, image) for label in sorted(images) for image in images[label]]
    random.Random(0).shuffle(labelled)
    codes = []
    for first in range(0, len(labelled), EXTRACT_IMAGES):
        batch = labelled[first : first + EXTRACT_IMAGES]
        codes.append(extractor.extract(np.stack([extractor.prepare(image) for _, image in batch])))
    latents = extractor.spec.to_float(np.concatenate(codes))
    return power_l2(latents), np.array([label for label, _ in labelled])


def _fitted_accuracy(
    strength: float,
    train: tuple[Float32, npt.NDArray[np.str_]],
    test: tuple[Float32, npt.NDArray[np.str_]],
) -> float:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra("the offline logistic regression", "bench") from error
    model = LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(*train)
    return float(model.score(*test))
