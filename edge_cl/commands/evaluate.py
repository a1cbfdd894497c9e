"""``edge-cl eval DIR``."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import click

from edge_cl.client import Client, Predicted
from edge_cl.commands import exits
from edge_cl.commands.concurrency import bounded_map
from edge_cl.commands.connection import Connection, with_connection
from edge_cl.commands.folders import LabelledFile, labelled_files
from edge_cl.commands.output import print_json, print_table, progress_bar


@dataclass
class Score:
    """Predictions of the images of one class."""

    images: int = 0
    right: int = 0
    unknown: int = 0
    taken_for: Counter[str] = field(default_factory=Counter)

    def note(self, label: str, answer: Predicted) -> None:
        """Count one prediction; the nearest label counts, also where it is called unknown."""
        self.images += 1
        self.unknown += answer.unknown
        if answer.label == label:
            self.right += 1
        else:
            self.taken_for[answer.label] += 1

    @property
    def accuracy(self) -> float:
        """Part of the images that were named rightly."""
        return self.right / self.images


@click.command("eval")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--context", help="Context that the images come from.")
@click.option("--per-class", type=click.IntRange(min=1), help="Images of a class at most.")
@click.option(
    "--min-accuracy",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Leave with exit code 1 below this accuracy.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the result as JSON.")
@with_connection
def evaluate(
    connection: Connection,
    folder: Path,
    context: str | None,
    per_class: int | None,
    min_accuracy: float,
    as_json: bool,
) -> int:
    """Measure the accuracy on the images of FOLDER, which has one folder per class.

    Nothing is learned from them.
    """
    files = labelled_files(folder, per_class)
    with connection.client() as client:
        scores = _scores(client, files, context)
    images = sum(score.images for score in scores.values())
    accuracy = sum(score.right for score in scores.values()) / images
    if as_json:
        print_json({"images": images, "accuracy": accuracy, "by_class": _by_class(scores)})
    else:
        _print(scores, accuracy, images)
    return exits.OK if accuracy >= min_accuracy else exits.PARTLY_FAILED


def _scores(client: Client, files: list[LabelledFile], context: str | None) -> dict[str, Score]:
    scores: dict[str, Score] = defaultdict(Score)

    def ask(file: LabelledFile) -> Predicted:
        return client.predict(file.path, context=context)

    with progress_bar("evaluating", len(files)) as advance:
        answers = bounded_map(ask, files, at_once=4)
        for file, answer in zip(files, answers, strict=True):
            scores[file.label].note(file.label, answer)
            advance()
    return dict(scores)


def _by_class(scores: dict[str, Score]) -> dict[str, dict[str, object]]:
    return {
        label: {
            "images": score.images,
            "accuracy": score.accuracy,
            "unknown": score.unknown,
            "taken_for": dict(score.taken_for.most_common()),
        }
        for label, score in scores.items()
    }


def _print(scores: dict[str, Score], accuracy: float, images: int) -> None:
    rows = [
        (label, score.images, score.accuracy, score.unknown, _most_taken_for(score))
        for label, score in scores.items()
    ]
    columns = ["class", "images", "accuracy", "unknown", "mostly taken for"]
    print_table(f"accuracy {accuracy:.3f} on {images:,} images", columns, rows)


def _most_taken_for(score: Score) -> str:
    return ", ".join(f"{label} ({times})" for label, times in score.taken_for.most_common(1))
