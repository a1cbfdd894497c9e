"""What a learner knew at one moment: the half of it that answers, for any thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_cl.equations import softmax
from edge_cl.latents import checked_latents
from edge_cl.names import NameTable
from edge_cl.strategy import Strategy
from edge_cl.types import Array, Float32, Int64, LatentSpec, Prediction
from edge_cl.unknown import FALSE_REJECT_RATE, Calibration

__all__ = ["Published"]


@dataclass(frozen=True)
class Published:
    """What a learner knew at one version: immutable, and safe to use from any thread."""

    version: int
    classes: NameTable
    """What the classes that the strategy numbers are called."""
    contexts: NameTable
    spec: LatentSpec
    strategy: Strategy
    calibration: Calibration

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label once."""
        return self.classes.known

    def predict_latents(
        self,
        latents: Array,
        context: str | int | None = None,
        top_k: int = 1,
        false_reject_rate: float = FALSE_REJECT_RATE,
    ) -> list[Prediction]:
        """Predictions for (N, D) latents, as `Learner.predict_latents`."""
        rows = checked_latents(latents, self.spec)
        if not self.labels:
            nothing = Prediction("", 0.0, unknown=True, typicality=0.0, version=self.version)
            return [nothing for _ in rows]
        number = None if context is None else self.contexts.number(str(context))
        normal = self.strategy.normalise(rows)
        raw = self.strategy.scores(normal, number)
        typicality = self.calibration.typicality(normal, raw)
        scores = self._by_label(raw / np.float32(self.calibration.temperature))
        probabilities = softmax(scores)
        count = min(max(top_k, 1), len(self.labels))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return [
            self._prediction(probabilities[n], best[n], float(typicality[n]), false_reject_rate)
            for n in range(len(rows))
        ]

    def _by_label(self, scores: Float32) -> Float32:
        """Scores (N, L) of the labels from those of the classes (N, C).

        The exponentials of classes with the same label add up, as their probabilities do;
        a class without a label has none.
        """
        if self.labels == self.classes.names:
            return scores
        columns = [
            np.logaddexp.reduce(scores[:, self.classes.numbers(label)], axis=1)
            for label in self.labels
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def _prediction(
        self, probabilities: Float32, best: Int64, typicality: float, false_reject_rate: float
    ) -> Prediction:
        top = tuple((self.labels[c], float(probabilities[c])) for c in best)
        unknown = typicality <= false_reject_rate
        return Prediction(*top[0], unknown, top, self.version, typicality)
