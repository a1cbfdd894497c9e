"""``edge-cl bench http-cifar``: class after class through a real service, against a bound.

The bound is a logistic regression that sees the latents of all training images
at once, as often as it likes.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import click

from edge_cl.bench.offline import offline_accuracy
from edge_cl.bench.report import Report
from edge_cl.client import Client
from edge_cl.commands import exits
from edge_cl.commands.output import Advance, print_json, print_table, progress_bar, working
from edge_cl.demo.images import LabelledImages, find_images, shared_folder
from edge_cl.local_service import LocalService

CLASSES_AT_ONCE = 2
REQUEST_IMAGES = 50
MODEL = "mobilenet_v1_0.5_160_int8.onnx"


@dataclass(frozen=True)
class Stream:
    """How images are put before a learner.

    Parameters
    ----------
    order
        Labels in the order in which they come.
    seed
        Order of the images within an experience.
    """

    order: list[str]
    seed: int

    def experiences(self, images: LabelledImages) -> list[list[tuple[str, bytes]]]:
        """Shuffled images of two classes, then of the next two, to the end."""
        chance = random.Random(self.seed)
        experiences = []
        for first in range(0, len(self.order), CLASSES_AT_ONCE):
            labels = self.order[first : first + CLASSES_AT_ONCE]
            experience = [(label, image) for label in labels for image in images.train[label]]
            chance.shuffle(experience)
            experiences.append(experience)
        return experiences


@dataclass(frozen=True)
class Protocol:
    """What all runs share.

    Parameters
    ----------
    budget
        Memory budget of the learner.
    orders
        Class orders.
    boundaries
        Whether the service is told where an experience ends.
    """

    budget: str
    orders: int
    boundaries: bool


@dataclass(frozen=True)
class Result:
    """What one strategy reached with one extractor.

    Parameters
    ----------
    extractor, strategy
        Their names.
    offline
        Accuracy of the bound, in [0, 1].
    accuracies
        One for each class order.
    ledger_bytes
        Largest sum of the ledger after any experience.
    samples_per_s
        Images taught a second, over all orders.
    """

    extractor: str
    strategy: str
    offline: float
    accuracies: list[float]
    ledger_bytes: int
    samples_per_s: float

    @property
    def gap_points(self) -> float:
        """Points of accuracy below the bound."""
        return 100 * (self.offline - mean(self.accuracies))


@click.command("http-cifar")
@click.option(
    "--extractor",
    "extractors",
    multiple=True,
    help="'default' or an ONNX file; may be repeated.  [both of those at hand]",
)
@click.option(
    "--strategy", "strategies", multiple=True, default=("auto", "naive"), show_default=True,
    help="Strategy; may be repeated.",
)  # fmt: skip
@click.option("--budget", default="1MiB", show_default=True, help="Memory budget of the learner.")
@click.option("--train", default=10_000, show_default=True, help="Images to teach, each once.")
@click.option("--test", default=2_000, show_default=True, help="Images to test with.")
@click.option("--orders", default=3, show_default=True, help="Class orders.")
@click.option("--boundaries", is_flag=True, help="Tell the service where an experience ends.")
@click.option(
    "--max-gap",
    type=float,
    help="Leave with exit code 1 if the first strategy with the first extractor is further off.",
)
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the report."
)
@click.option("--json", "as_json", is_flag=True, help="Write the figures as JSON.")
def http_cifar(
    extractors: tuple[str, ...],
    strategies: tuple[str, ...],
    budget: str,
    train: int,
    test: int,
    orders: int,
    boundaries: bool,
    max_gap: float | None,
    output: Path | None,
    as_json: bool,
) -> int:
    """Teach CIFAR-10 as JPEGs through HTTP, two classes after two, and test on all.

    Without the CIFAR-10 pack the handwritten digits of scikit-learn are taught.
    """
    with working("reading the images"):
        found = find_images()
    images = found.part(train // len(found.labels), test // len(found.labels))
    protocol = Protocol(budget, orders, boundaries)
    results: list[Result] = []
    for extractor in extractors or _at_hand():
        own: list[Result] = []
        for result in _measure(extractor, strategies, protocol, images):
            own.append(result)
            # After every result: a long run that is broken off leaves what it found.
            if output is not None:
                _report(own, images, protocol).write(output)
        results += own
    report = _report(results, images, protocol)
    if as_json:
        print_json(report.figures)
    else:
        print_table(report.title, report.columns, report.rows, text_columns=2)
    too_far = max_gap is not None and results[0].gap_points > max_gap
    return exits.PARTLY_FAILED if too_far else exits.OK


def _at_hand() -> list[str]:
    folder = shared_folder()
    model = folder / "models" / MODEL if folder else None
    return [str(model), "default"] if model and model.is_file() else ["default"]


def _measure(
    extractor: str, strategies: Sequence[str], protocol: Protocol, images: LabelledImages
) -> Iterator[Result]:
    name = Path(extractor).stem
    with working(f"the offline bound of {name}"):
        offline = offline_accuracy(extractor, images)
    for strategy in strategies:
        settings = {
            "extractor": extractor,
            "strategy": strategy,
            "memory_budget": protocol.budget,
        }
        begun = time.monotonic()
        runs = [
            _one_order(settings, images, seed, protocol.boundaries)
            for seed in range(protocol.orders)
        ]
        taught = protocol.orders * sum(map(len, images.train.values()))
        yield Result(
            extractor=name,
            strategy=strategy,
            offline=offline,
            accuracies=[accuracy for accuracy, _ in runs],
            ledger_bytes=max(ledger_bytes for _, ledger_bytes in runs),
            samples_per_s=taught / (time.monotonic() - begun),
        )


def _one_order(
    settings: dict[str, str], images: LabelledImages, seed: int, boundaries: bool
) -> tuple[float, int]:
    """Accuracy on all classes at the end, and the most bytes that the ledger gave."""
    order = images.labels
    if seed:
        random.Random(seed).shuffle(order)
    experiences = Stream(order, seed).experiences(images)
    total = sum(map(len, experiences)) + sum(map(len, images.test.values()))
    what = f"{settings['strategy']}, order {seed + 1}"
    ledger_bytes = 0
    with (
        tempfile.TemporaryDirectory(prefix="edge-cl-cifar-") as folder,
        LocalService(Path(folder), settings) as service,
        Client(service.url) as client,
        progress_bar(what, total) as advance,
    ):
        for experience in experiences:
            _teach(client, experience, advance)
            if boundaries:
                client.end_experience()
            ledger_bytes = max(ledger_bytes, sum(client.state()["memory"].values()))
        return _accuracy(client, images, advance), ledger_bytes


def _teach(client: Client, experience: list[tuple[str, bytes]], advance: Advance) -> None:
    for first in range(0, len(experience), REQUEST_IMAGES):
        labels, encoded = zip(*experience[first : first + REQUEST_IMAGES], strict=True)
        client.teach_many(encoded, labels)
        advance(len(labels))


def _accuracy(client: Client, images: LabelledImages, advance: Advance) -> float:
    right = 0
    for label, encoded in images.test.items():
        for first in range(0, len(encoded), REQUEST_IMAGES):
            answers = client.predict_many(encoded[first : first + REQUEST_IMAGES])
            right += sum(answer.label == label for answer in answers)
            advance(len(answers))
    return right / sum(map(len, images.test.values()))


def _report(results: list[Result], images: LabelledImages, protocol: Protocol) -> Report:
    rows = [
        (
            result.extractor,
            result.strategy,
            f"{100 * result.offline:.1f}",
            _spread(result.accuracies),
            f"{result.gap_points:.1f}",
            result.ledger_bytes,
            round(result.samples_per_s),
        )
        for result in results
    ]
    figures = {
        **vars(protocol),
        "images": images.source,
        "results": [vars(result) for result in results],
    }
    columns = ["extractor", "strategy", "offline %", "accuracy %", "gap", "bytes", "images/s"]
    title = "Class-incremental through HTTP"
    name = f"http-cifar-{results[0].extractor}"
    return Report(name, title, columns, rows, figures, _notes(images, protocol))


def _notes(images: LabelledImages, protocol: Protocol) -> list[str]:
    taught = sum(map(len, images.train.values()))
    tested = sum(map(len, images.test.values()))
    told = "" if protocol.boundaries else "not "
    return [
        f"{images.source}: {taught:,} training images, each once, {CLASSES_AT_ONCE} classes after "
        f"{CLASSES_AT_ONCE}, {REQUEST_IMAGES} a request; {tested:,} test images; budget "
        f"{protocol.budget}; mean ± standard deviation over {protocol.orders} class orders. The "
        f"service is {told}told where an experience ends. Offline is a logistic regression on the "
        "latents of all training images at once. Images/s includes testing and starting."
    ]


def _spread(accuracies: list[float]) -> str:
    points = [100 * accuracy for accuracy in accuracies]
    return f"{mean(points):.1f} ± {stdev(points):.1f}" if len(points) > 1 else f"{points[0]:.1f}"
