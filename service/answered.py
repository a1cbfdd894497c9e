"""What a prediction request is answered with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_cl.neighbours import Neighbour
from edge_cl.types import Prediction
from service.view import View

__all__ = ["Answered"]


@dataclass(frozen=True)
class Answered:
    """Predictions in the order of the samples.

    Parameters
    ----------
    view
        What was asked.
    predictions, ids
        One for each sample.
    neighbours
        The remembered samples nearest to each, if they were asked for.
    """

    view: View
    predictions: Sequence[Prediction]
    ids: Sequence[str]
    neighbours: Sequence[Sequence[Neighbour]] | None = None

    def content(self) -> dict[str, Any]:
        """The body of the answer."""
        notes = [
            _note(one, prediction_id)
            for one, prediction_id in zip(self.predictions, self.ids, strict=True)
        ]
        for note, found in zip(notes, self.neighbours or (), strict=False):
            note["neighbours"] = [vars(one) for one in found]
        return {"predictions": notes, "model_version": self.view.version}


def _note(one: Prediction, prediction_id: str) -> dict[str, Any]:
    return {
        "label": one.label,
        "score": one.score,
        "unknown": one.unknown,
        "typicality": one.typicality,
        "top": [{"label": label, "score": score} for label, score in one.top],
        "prediction_id": prediction_id,
    }
