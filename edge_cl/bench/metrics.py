"""What continual learning is measured by, each metric a pure function.

``accuracies[i, j]`` is the accuracy on test set j after experience i; both count from
0 here and from 1 in the formulas. ``learned_at[j]`` is the experience after which test
set j counts as learned: j itself where experiences and test sets are paired, and the
first experience with its class in a stream of bursts. With pairs, T = J and
learned_at(j) = j, and the formulas are those of the papers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.floating]


def mean_accuracy(accuracies: Matrix) -> float:
    """ACC = (1/J) sum_j a_{T,j} (Lopez-Paz & Ranzato 2017, eq. 2).

    >>> mean_accuracy(np.array([[1.0, 0.0], [0.6, 0.8]]))
    0.7
    """
    return float(accuracies[-1].mean())


def backward_transfer(accuracies: Matrix, learned_at: Sequence[int] | None = None) -> float:
    """BWT = (1/(T-1)) sum_{j<T} (a_{T,j} - a_{j,j}) (Lopez-Paz & Ranzato 2017, eq. 3).

    The mean is over the test sets learned before the last experience; their public code
    divides by T instead of the paper's T - 1. NaN when there is none.
    """
    last = len(accuracies) - 1
    early = [(j, i) for j, i in enumerate(_learned_at(accuracies, learned_at)) if i < last]
    return _mean([accuracies[-1, j] - accuracies[i, j] for j, i in early])


def forward_transfer(
    accuracies: Matrix, untrained: Matrix, learned_at: Sequence[int] | None = None
) -> float:
    """FWT = (1/(T-1)) sum_{j>=2} (a_{j-1,j} - b_j) (Lopez-Paz & Ranzato 2017, eq. 4).

    b_j is the accuracy of the `untrained` model on test set j. The mean is over the test
    sets that are learned after the first experience. NaN when there is none.
    """
    late = [(j, i) for j, i in enumerate(_learned_at(accuracies, learned_at)) if i > 0]
    return _mean([accuracies[i - 1, j] - untrained[j] for j, i in late])


def forgetting(accuracies: Matrix, learned_at: Sequence[int] | None = None) -> float:
    """F = (1/(T-1)) sum_{j<T} (max_{l<T} a_{l,j} - a_{T,j}) (Chaudhry et al. 2018, eq. 3).

    The mean is over the test sets learned before the last experience. It is at least
    -BWT, for the best accuracy may come after a_{j,j}. NaN when there is none.
    """
    last = len(accuracies) - 1
    early = [j for j, i in enumerate(_learned_at(accuracies, learned_at)) if i < last]
    return _mean([accuracies[:-1, j].max() - accuracies[-1, j] for j in early])


def average_incremental_accuracy(
    accuracies: Matrix, learned_at: Sequence[int] | None = None
) -> float:
    """A = (1/T) sum_i mean_{j<=i} a_{i,j} (Rebuffi et al. 2017, section 4).

    At each i the mean is over the test sets learned by then.
    """
    learned = np.asarray(_learned_at(accuracies, learned_at))
    return _mean([row[learned <= i].mean() for i, row in enumerate(accuracies)])


def any_time_accuracy(seen: Sequence[int], accuracies: Sequence[float]) -> float:
    """AUC = sum_k acc(k) dn_k / N (Koh et al. 2022, arXiv:2110.10031, eq. 5).

    Parameters
    ----------
    seen
        Samples learned when each accuracy was taken, rising; the last is N.
    accuracies
        acc(k), each held for the dn_k samples before it.
    """
    steps = np.diff(np.concatenate([[0], np.asarray(seen, np.float64)]))
    return float((np.asarray(accuracies) * steps).sum() / seen[-1])


def prequential_accuracy(right: Sequence[bool], fading: float = 1.0) -> float:
    """Test-then-train accuracy, P_n = S_n / B_n (Gama, Sebastião & Rodrigues 2013, eq. 4).

    ``S_n = e_n + fading S_{n-1}`` and ``B_n = 1 + fading B_{n-1}``, where e_n is 1 if
    sample n was predicted rightly before it was learned. Without fading it is the mean.
    """
    weights = fading ** np.arange(len(right) - 1, -1, -1, dtype=np.float64)
    return float((weights * np.asarray(right, np.float64)).sum() / weights.sum())


def omega_all(accuracies: Sequence[float], offline: Sequence[float] | float) -> float:
    """Omega_all = (1/T) sum_t acc_t / acc_offline,t (Hayes, Cahill & Kanan 2019, eq. 2).

    Parameters
    ----------
    accuracies
        acc_t on everything seen by time t.
    offline
        Of a model trained offline on the same; one number holds for all t.
    """
    return float(np.mean(np.asarray(accuracies) / np.asarray(offline)))


def seen_accuracies(
    accuracies: Matrix, sizes: Sequence[int], learned_at: Sequence[int] | None = None
) -> list[float]:
    """acc_i: after each experience, the accuracy on all test samples learned by then.

    ``acc_i = sum_{j<=i} n_j a_{i,j} / sum_{j<=i} n_j`` with n_j samples in test set j.
    """
    learned, weights = np.asarray(_learned_at(accuracies, learned_at)), np.asarray(sizes)
    return [
        float(np.average(row[learned <= i], weights=weights[learned <= i]))
        for i, row in enumerate(accuracies)
    ]


def _learned_at(accuracies: Matrix, learned_at: Sequence[int] | None) -> Sequence[int]:
    return range(accuracies.shape[1]) if learned_at is None else learned_at


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
