"""Rules that say how much a sample looks like what was taught; larger is more like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_cl.equations import softmax
from edge_cl.types import Batch, Float32, Float64
from edge_cl.unknown import Calibration

PRIOR = 0.5
"""Covariances are shrunk to a multiple of the identity by this part."""

CHUNK = 500


@dataclass(frozen=True)
class Taught:
    """What rules may know of a learner.

    Parameters
    ----------
    calibration
        Of the learner.
    exemplars
        Everything that its memory holds, normalised.
    """

    calibration: Calibration
    exemplars: Batch


Rule = Callable[[Taught, Float32, Float32], Float64]
"""From normalised latents (N, D) and raw scores (N, C) to (N,)."""


def max_softmax(taught: Taught, latents: Float32, scores: Float32) -> Float64:
    """Largest probability (Hendrycks & Gimpel 2017)."""
    best: Float64 = softmax(scores).max(axis=1).astype(np.float64)
    return best


def max_logit(taught: Taught, latents: Float32, scores: Float32) -> Float64:
    """Largest score (Hendrycks et al. 2022)."""
    best: Float64 = scores.max(axis=1).astype(np.float64)
    return best


def energy(taught: Taught, latents: Float32, scores: Float32) -> Float64:
    """Logarithm of the sum of exponentials (Liu et al. 2020)."""
    energies: Float64 = np.logaddexp.reduce(scores.astype(np.float64), axis=1)
    return energies


def entropy(taught: Taught, latents: Float32, scores: Float32) -> Float64:
    """Minus the entropy of the probabilities."""
    probabilities = softmax(scores).astype(np.float64)
    negative: Float64 = (probabilities * np.log(probabilities + 1e-12)).sum(axis=1)
    return negative


def class_mean(taught: Taught, latents: Float32, scores: Float32) -> Float64:
    """Minus the squared distance to the nearest class mean of the exemplars."""
    means = _means(taught.exemplars)
    squares = [((latents - mean) ** 2).sum(axis=1) for mean in means]
    nearest: Float64 = np.min(squares, axis=0).astype(np.float64)
    return -nearest


def mahalanobis(taught: Taught, latents: Float32, scores: Float32) -> Float64:
    """Minus the Mahalanobis distance to the nearest class (Lee et al. 2018), of the exemplars."""
    rows, means = taught.exemplars, _means(taught.exemplars)
    numbers = np.unique(rows.classes, return_inverse=True)[1]
    inverse = _inverse(rows.latents - means[numbers])
    squares = [_squares(latents - mean, inverse) for mean in means]
    nearest: Float64 = np.min(squares, axis=0).astype(np.float64)
    return -nearest


def relative_mahalanobis(taught: Taught, latents: Float32, scores: Float32) -> Float64:
    """The same, less the distance to all exemplars as one class (Ren et al. 2021)."""
    rows = taught.exemplars.latents
    mean = rows.mean(axis=0)
    background = _squares(latents - mean, _inverse(rows - mean))
    return mahalanobis(taught, latents, scores) + background


def nearest_exemplar(taught: Taught, latents: Float32, scores: Float32) -> Float64:
    """Cosine with the nearest exemplar (Sun et al. 2022, k = 1)."""
    stored = _unit(taught.exemplars.latents)
    parts = [
        (_unit(latents[start : start + CHUNK]) @ stored.T).max(axis=1)
        for start in range(0, len(latents), CHUNK)
    ]
    return np.concatenate(parts).astype(np.float64)


def distance(taught: Taught, latents: Float32, scores: Float32) -> Float64:
    """The distance half of the familiarity: from the sums that every learner keeps."""
    calibration = taught.calibration
    halved = Calibration(**{**vars(calibration), "energy": None})
    return halved.familiarity(latents, scores)


def familiarity(taught: Taught, latents: Float32, scores: Float32) -> Float64:
    """Distance and energy: what learners use."""
    return taught.calibration.familiarity(latents, scores)


RULES: dict[str, Rule] = {
    "max_softmax": max_softmax,
    "entropy": entropy,
    "max_logit": max_logit,
    "energy": energy,
    "class_mean": class_mean,
    "mahalanobis": mahalanobis,
    "relative_mahalanobis": relative_mahalanobis,
    "nearest_exemplar": nearest_exemplar,
    "distance": distance,
    "familiarity": familiarity,
}

DEFAULT = "familiarity"


def _means(rows: Batch) -> Float32:
    means = [rows.latents[rows.classes == c].mean(axis=0) for c in np.unique(rows.classes)]
    return np.stack(means)


def _inverse(rows: Float32) -> Float64:
    covariance = (rows.T @ rows / len(rows)).astype(np.float64)
    level = np.trace(covariance) / len(covariance)
    covariance *= 1 - PRIOR
    covariance[np.diag_indices(len(covariance))] += PRIOR * level
    return np.linalg.inv(covariance).astype(np.float64)


def _squares(rows: Float32, inverse: Float64) -> Float64:
    squares: Float64 = ((rows @ inverse) * rows).sum(axis=1)
    return squares


def _unit(rows: Float32) -> Float32:
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    scaled: Float32 = (rows / lengths).astype(np.float32)
    return scaled
