"""Pure functions of the papers, each with its equation number."""

from __future__ import annotations

import numpy as np

from edge_cl.types import Array, Bool, Float32, Int64


def softmax(logits: Float32, temperature: float = 1.0) -> Float32:
    """Row-wise softmax of (N, C) `logits`, stable for large values."""
    shifted = logits / np.float32(temperature) if temperature != 1.0 else logits
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    exponential: Float32 = np.exp(shifted)
    exponential /= exponential.sum(axis=1, keepdims=True)
    return exponential


def log_softmax(logits: Float32) -> Float32:
    """Row-wise logarithm of the softmax of (N, C) `logits`."""
    shifted: Float32 = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def sigmoid(logits: Float32) -> Float32:
    """Logistic function, stable for large values."""
    half: Float32 = np.tanh(logits / np.float32(2))
    return (half + np.float32(1)) / np.float32(2)


def cross_entropy(logits: Float32, classes: Int64) -> Float32:
    """Cross-entropy of every row, (N,), against class ids (N,)."""
    return -log_softmax(logits)[np.arange(len(classes)), classes]


def cross_entropy_gradient(logits: Float32, classes: Int64) -> Float32:
    """Gradient of the mean cross-entropy by (N, C) `logits`."""
    gradient = softmax(logits)
    gradient[np.arange(len(classes)), classes] -= 1
    gradient /= len(classes)
    return gradient


def denial(logits: Float32, denied: Bool) -> Float32:
    """Negative learning's loss -log(1 - p), (N,): Kim et al. 2019, arXiv:1908.07387, eq. 2.

    Parameters
    ----------
    logits
        (N, C).
    denied
        (N, C): p is the sum of the probabilities of these; some are not denied.
    """
    others = np.where(denied, np.float32(-np.inf), log_softmax(logits))
    return -np.asarray(np.logaddexp.reduce(others, axis=1), dtype=np.float32)


def denial_direction(logits: Float32, denied: Bool) -> Float32:
    """Gradient of `denial` by the (N, C) `logits`, over p.

    Denied classes share out 1 by their probabilities, the others -1 by theirs: a step
    against it lowers the odds of what is denied by the factor e at least, however large
    or small they are.
    """
    most_negative = np.float32(-1e9)
    inside = softmax(np.where(denied, logits, most_negative))
    direction: Float32 = inside - softmax(np.where(denied, most_negative, logits))
    return direction


def distillation(logits: Float32, targets: Float32, temperature: float = 1.0) -> float:
    """Mean cross-entropy of softened outputs (Li & Hoiem 2016, eq. 2 and 3).

    Parameters
    ----------
    logits
        (N, C) of the student.
    targets
        (N, C) probabilities of the teacher, softened already.
    temperature
        Divides the student's logits. There is no factor temperature², as in the paper.
    """
    softened = log_softmax(logits / np.float32(temperature))
    return -float((targets * softened).sum() / len(logits))


def distillation_gradient(logits: Float32, targets: Float32, temperature: float = 1.0) -> Float32:
    """Gradient of `distillation` by the (N, C) `logits`."""
    totals = targets.sum(axis=1, keepdims=True)
    gradient: Float32 = softmax(logits, temperature) * totals - targets
    gradient /= np.float32(temperature * len(logits))
    return gradient


def one_hot(classes: Int64, width: int) -> Float32:
    """(N, width) float32 with a one in the column of each class."""
    targets = np.zeros((len(classes), width), dtype=np.float32)
    targets[np.arange(len(classes)), classes] = 1
    return targets


def power_l2(latents: Float32) -> Float32:
    """Signed square root, then unit length (Perronnin et al. 2010, section 3.2).

    Rows of zeros stay zeros.
    """
    rooted: Float32 = np.abs(latents)
    np.sqrt(rooted, out=rooted)
    np.copysign(rooted, latents, out=rooted)
    return l2(rooted)


def l2(latents: Float32) -> Float32:
    """Rows of (N, D) `latents` scaled to unit Euclidean length; zeros stay zeros."""
    squares: Float32 = np.einsum("nd,nd->n", latents, latents)[:, None]
    squares[squares == 0] = 1
    np.sqrt(squares, out=squares)
    return latents / squares


def path_importance(path: Float32, weights: Float32, anchor: Float32, damping: float) -> Float32:
    """Importance that one context adds (Zenke et al. 2017, eq. 5).

    Parameters
    ----------
    path
        Sum over the context's steps of minus gradient times weight change.
    weights, anchor
        Weights at the end and at the start of the context.
    damping
        The paper's xi, which keeps weights that barely moved from exploding.
    """
    moved = weights - anchor
    importance: Float32 = np.maximum(path, np.float32(0))
    importance /= moved * moved + np.float32(damping)
    return importance


def consolidation_weight(past: Array, current: Array) -> Float32:
    """Weight of a class's consolidated row, sqrt(past / current).

    Lomonaco et al. 2020 (CWR*), algorithm 1; 0 for classes never seen before.
    """
    return np.sqrt(past / np.maximum(current, 1)).astype(np.float32)
