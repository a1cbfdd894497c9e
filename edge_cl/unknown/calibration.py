"""From raw scores to probabilities that mean something, and to a test for the unknown.

The familiarity of a sample is its nearness to the nearest class mean, plus its energy
(Liu et al. 2020, arXiv:2010.03759, eq. 4), both in standard deviations of remembered
samples. Its typicality is the share of remembered samples that are no more familiar, a
conformal p-value (Laxhammar & Falkman 2010): flagging what is at or below a rate rejects
about that rate of samples of known classes. The distance of a remembered sample is that to
the means without itself.

The temperature of the softmax maximises the likelihood of remembered samples (Guo et al.
2017, arXiv:1706.04599). As these were trained on, its logarithm and the energy count for
less the fewer samples there were; and the logarithm by the share of all samples that the
memory still holds, since the rest were rehearsed less and less. Where a strategy can tell
the scores of a sample as if it had not been learned, both are read from those, in full but
for a temperature below 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_cl import fixed_point
from edge_cl.errors import ContextRequired
from edge_cl.types import NO_CONTEXT, Batch, Bool, Float32, Float64, Int8
from edge_cl.unknown.statistics import EXEMPLARS, ClassStatistics, distances

if TYPE_CHECKING:
    from edge_cl.strategy import Strategy

FALSE_REJECT_RATE = 0.05
"""Share of samples of known classes that may be called unknown, if nothing else is said."""

DOUBT_SAMPLES = 500
"""After so many samples what was trained on is believed half."""

LEAST_SAMPLES = 5
RANKED_SAMPLES = 40
"""From so many on typicality is a rank; with fewer the familiarity is taken as normal."""

SLOPES = (0.05, 50.0)
"""Bounds of the inverse temperature."""


@dataclass(frozen=True)
class Calibration:
    """What turns scores into probabilities and typicalities; immutable.

    Parameters
    ----------
    temperature
        Divides the scores.
    stride
        Every so many-th value of a latent is looked at.
    means, steps, precision
        Of the classes: means in 8 bits, and each mean's step, 0 where there is no sample.
    distance, energy
        Mean and standard deviation of remembered samples; the energy's is None where
        there are none.
    energy_weight
        Of the energy beside the distance.
    reference
        Familiarities of remembered samples, ascending.
    samples
        How many samples the calibration is from; with fewer than five all is typical.
    """

    temperature: float
    stride: int
    means: Int8
    steps: Float32
    precision: Float32
    distance: tuple[float, float]
    energy: tuple[float, float] | None
    energy_weight: float
    reference: Float32
    samples: int

    def familiarity(self, latents: Float32, scores: Float32) -> Float64:
        """(N,) of normalised latents (N, D) and their raw scores (N, C)."""
        means = fixed_point.floats(self.means, self.steps)
        means[self.steps == 0] = np.inf
        nearest = distances(latents[:, :: self.stride], means, self.precision).min(axis=1)
        return self._combined(nearest.astype(np.float64), _energies(scores, self.temperature))

    def typicality(self, latents: Float32, scores: Float32) -> Float64:
        """(N,) shares of samples of known classes that are no more familiar, in [0, 1]."""
        familiar = self.familiarity(latents, scores)
        if self.samples < LEAST_SAMPLES:
            return np.ones(len(familiar))
        if len(self.reference) >= RANKED_SAMPLES:
            ranks = np.searchsorted(self.reference, familiar, side="right")
            shares: Float64 = (1 + ranks) / (len(self.reference) + 1)
            return shares
        centre, spread = 0.0, 1.0
        if len(self.reference):
            centre = float(self.reference.mean())
            spread = float(self.reference.std(ddof=1))
        return _normal_shares((familiar - centre) / max(spread, 1e-6), self.samples)

    def _combined(self, nearest: Float64, energies: Float64) -> Float64:
        familiar: Float64 = (self.distance[0] - nearest) / self.distance[1]
        if self.energy is not None:
            familiar += self.energy_weight * (energies - self.energy[0]) / self.energy[1]
        return familiar


def calibrated(statistics: ClassStatistics, strategy: Strategy, published: Strategy) -> Calibration:
    """A calibration with what a strategy remembers.

    Parameters
    ----------
    statistics
        Of all samples so far.
    strategy
        Has the memories.
    published
        Gives the scores that will be calibrated.
    """
    exemplars = remembered(strategy, EXEMPLARS)
    seen = int(statistics.counts.sum())
    scores, kept = _scores(published, exemplars)
    exemplars = exemplars[kept]
    means, precision = statistics.means(), statistics.precision()
    codes, steps = fixed_point.to_8(np.where(np.isfinite(means), means, 0))
    steps *= np.isfinite(means[:, 0])
    belief = seen / (seen + DOUBT_SAMPLES)
    temperature = 1.0
    counts = statistics.counts[exemplars.classes]
    testable = np.flatnonzero(counts > 1)
    held_out = strategy.held_out_scores(exemplars, scores) if len(testable) else None
    if held_out is not None:
        temperature = best_temperature(held_out[testable], exemplars[testable])
        # Doubt is believed at once; certainty of a few samples is as good as their number.
        temperature **= belief if temperature < 1 else 1.0
        scores, belief = held_out, 1.0
    elif len(exemplars):
        held = min(1.0, max(map(len, strategy.memories.values())) / max(seen, 1))
        temperature = best_temperature(scores, exemplars) ** (belief * held)
    if len(testable) < LEAST_SAMPLES:
        seen, mean, variance = statistics.moments
        moments = float(mean), math.sqrt(variance) or 1.0
        nothing = np.zeros(0, dtype=np.float32)
        samples = min(int(seen), EXEMPLARS)
        return Calibration(
            temperature, statistics.stride, codes, steps, precision, moments, None, 0.0, nothing,
            samples,
        )  # fmt: skip
    nearest = _left_out(statistics, exemplars[testable], means, precision)
    energies = _energies(scores[testable], temperature)
    draft = Calibration(
        temperature, statistics.stride, codes, steps, precision, _moments(nearest),
        _moments(energies), belief, np.zeros(0, dtype=np.float32), len(testable),
    )  # fmt: skip
    reference = np.sort(draft._combined(nearest, energies)).astype(np.float32)
    return Calibration(**{**vars(draft), "reference": reference})


def best_temperature(scores: Float32, samples: Batch) -> float:
    """The temperature at which labelled scores are likeliest.

    The negative logarithm of the likelihood is convex in the inverse temperature, so
    bisection of its slope finds the least.
    """
    wide = scores.astype(np.float64)
    own = wide[np.arange(len(samples)), samples.classes]
    wide -= wide.max(axis=1, keepdims=True)
    own_shifted = own - scores.max(axis=1)
    low, high = SLOPES
    for _ in range(20):
        slope = math.sqrt(low * high)
        weights = np.exp(slope * wide)
        expected = (weights * wide).sum(axis=1) / weights.sum(axis=1)
        if float((expected - own_shifted).sum()) < 0:
            low = slope
        else:
            high = slope
    return 1 / math.sqrt(low * high)


def remembered(strategy: Strategy, most: int | None = None) -> Batch:
    """What the largest memory holds, normalised; at most so many, spread over all its rows."""
    memories = [memory for memory in strategy.memories.values() if len(memory)]
    if not memories:
        return Batch.empty(strategy.spec.dim)
    memory = max(memories, key=len)
    count = len(memory) if most is None else min(len(memory), most)
    rows = np.linspace(0, len(memory) - 1, count).astype(np.int64)
    return strategy.normalised(memory.rows(rows))


def _scores(published: Strategy, samples: Batch) -> tuple[Float32, Bool]:
    """Scores of the samples that can have some, and which these are."""
    every = np.ones(len(samples), dtype=np.bool_)
    if not len(samples):
        return np.zeros((0, published.classes), dtype=np.float32), every
    try:
        return published.scores(samples.latents), every
    except ContextRequired:
        scores = np.zeros((len(samples), published.classes), dtype=np.float32)
    for context in np.unique(samples.contexts).tolist():
        rows = samples.contexts == context
        if context == NO_CONTEXT:
            every[rows] = False
        else:
            scores[rows] = published.scores(samples.latents[rows], context)
    return scores[every], every


def _left_out(
    statistics: ClassStatistics, samples: Batch, means: Float32, precision: Float32
) -> Float64:
    """Distance of each sample to the nearest mean of all the others."""
    found = distances(statistics.picked(samples.latents), means, precision).astype(np.float64)
    counts = statistics.counts[samples.classes]
    own = np.arange(len(samples)), samples.classes
    found[own] *= (counts / (counts - 1)) ** 2
    nearest: Float64 = found.min(axis=1)
    return nearest


def _energies(scores: Float32, temperature: float) -> Float64:
    """Logarithm of the sum of the exponentials of the scores, (N,)."""
    scaled = scores.astype(np.float64) / temperature
    most = scaled.max(axis=1)
    energies: Float64 = most + np.log(np.exp(scaled - most[:, None]).sum(axis=1))
    return energies


def _moments(values: Float64) -> tuple[float, float]:
    return float(values.mean()), max(float(values.std()), 1e-6)


def _normal_shares(values: Float64, samples: int) -> Float64:
    """Shares of a normal population, known from some samples, that are no larger.

    Student's t by its normal approximation (Abramowitz & Stegun 1964, 26.7.8).
    """
    freedom = samples - 1
    t = values / math.sqrt(1 + 1 / samples)
    normal = t * (1 - 1 / (4 * freedom)) / np.sqrt(1 + t * t / (2 * freedom))
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in normal.tolist()])
