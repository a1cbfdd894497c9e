"""``edge-cl bench replay-layer``: bytes, time and accuracy of each choice of the replay layer.

Runs are those of ``edge-cl bench run`` in the class-incremental stream, and as resumable.
Every choice has the same bytes for its replay memory; what a layer costs beside it is in
the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import click

from edge_cl.bench.datasets import find_extractor
from edge_cl.bench.grid import Settings, attempt, run
from edge_cl.bench.report import Report
from edge_cl.bench.scenarios import Source
from edge_cl.bench.stream_options import place_options, sample_options
from edge_cl.bench.summary import Spread
from edge_cl.budget import format_bytes, parse_bytes
from edge_cl.extractor.extractor import AT
from edge_cl.memory.rows import LABEL_BYTES
from edge_cl.strategies import find

LAYERS = (
    "default", "default@residual3", "default@down3",
    "mobilenet_v1_0.5_160_int8", "mobilenet_v1_0.5_160_int8@dw25",
    "mobilenet_v1_0.5_160_int8@conv24",
)  # fmt: skip
BUDGET = "256MiB"
"""More than any choice needs: the replay memory is bounded in samples."""
CODEC = "uint8"
COLUMNS = (
    "replay layer", "strategy", "layers above", "bytes a latent", "exemplars", "tail bytes",
    "bytes in all", "ms a sample", "ms to publish", "accuracy", "forgetting", "orders",
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """One line of the table.

    Parameters
    ----------
    extractor
        Whole, or cut at a layer.
    trained
        Whether the layers above learn.
    latent_bytes
        Of one latent.
    """

    extractor: str
    trained: bool
    latent_bytes: int

    @property
    def is_cut(self) -> bool:
        """Whether there are layers above."""
        return AT in self.extractor

    @property
    def strategy(self) -> str:
        """AR1 on the embedding, or on the layers above."""
        return "ar1_conv" if self.is_cut else "ar1"

    def options(self, replay_bytes: int) -> dict[str, Any]:
        """So many exemplars as the bytes hold; all else as by default."""
        exemplars = max(1, replay_bytes // (self.latent_bytes + LABEL_BYTES))
        options: dict[str, Any] = {"codec": CODEC, "memory_samples": exemplars}
        if self.strategy == "ar1_conv" and not self.trained:
            options["tail_learning_rate"] = 0.0
        return options


@click.command("replay-layer")
@click.option("--layer", "layers", multiple=True, default=LAYERS, show_default=True,
              help="An extractor, or one cut at a layer; may be repeated.")  # fmt: skip
@click.option("--replay-bytes", default="4MiB", show_default=True, help="Of the replay memory.")
@sample_options(3_000, 1_000)
@place_options("replay-layer", "replay_layer.md and replay_layer.json")
def replay_layer_command(
    layers: tuple[str, ...], replay_bytes: str, orders: int, pack: str, train: int, test: int,
    runs: Path, out: Path,
) -> int:  # fmt: skip
    """Bytes, time and accuracy by the layer at which latents are taken."""
    found: dict[Choice, list[Mapping[str, Any]]] = {}
    broken = 0
    for order, choice in product(range(orders), list(choices(layers))):
        source = Source(pack, choice.extractor, train or None, test or None)
        options = choice.options(parse_bytes(replay_bytes))
        settings = Settings(
            choice.strategy, "class", BUDGET, order, source=source, options=options, points=1
        )
        if not attempt(settings, runs):
            broken += 1
            continue
        found.setdefault(choice, []).append(run(settings, runs)["outcome"])
    report(found, pack, replay_bytes, train, test).write(out)
    return 1 if broken else 0


def choices(layers: tuple[str, ...]) -> Iterator[Choice]:
    """The lines: the embedding once, every layer with those above it frozen and trained."""
    for name in layers:
        with find_extractor(name) as extractor:
            dim = extractor.spec.dim
        if AT in name:
            yield Choice(name, False, dim)
        yield Choice(name, True, dim)


def report(
    found: Mapping[Choice, list[Mapping[str, Any]]], pack: str, replay_bytes: str, train: int,
    test: int,
) -> Report:  # fmt: skip
    """The page and the file of the figures."""
    rows = [_row(choice, outcomes, replay_bytes) for choice, outcomes in found.items()]
    lines = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    runs = [
        {"extractor": choice.extractor, "trained": choice.trained, **outcome}
        for choice, outcomes in found.items()
        for outcome in outcomes
    ]
    size = format_bytes(parse_bytes(replay_bytes))
    defaults = find("ar1_conv").options_type().model_dump(mode="json")
    return Report(
        "replay_layer",
        "Where the latent is taken",
        COLUMNS,
        rows,
        {"rows": lines, "defaults": defaults, "runs": runs},
        [
            f"{pack}, {train or 'all'} images each once, two classes after two, {test or 'all'} "
            f"test images; mean ± standard deviation over the orders. Every choice has {size} for "
            f"its replay memory, of {CODEC} codes and their labels, filled with no more than the "
            "images there are.",
            "Bytes a latent are those of one exemplar's code. Tail bytes are the weights of the "
            "layers above in float32, bytes in all the largest ledger: weights, their published "
            "copy, the layers as the extractor has them, replay memory, statistics.",
            "Milliseconds are processor time on one thread: of learning a sample, the median over "
            "calls of 50, and of publishing what was learned. The extractor's own time is not in "
            "them.",
            "Frozen is `tail_learning_rate=0`: the same exemplars and steps, with the layers above "
            "as the extractor has them.",
        ],
    )


def _row(
    choice: Choice, outcomes: list[Mapping[str, Any]], replay_bytes: str
) -> tuple[object, ...]:
    done = [one for one in outcomes if one["status"] == "done"]
    above = "none" if not choice.is_cut else "trained" if choice.trained else "frozen"
    exemplars = choice.options(parse_bytes(replay_bytes))["memory_samples"]
    if not done:
        return (choice.extractor, choice.strategy, above, choice.latent_bytes, *["–"] * 7, 0)
    seen = done[0]["curve"]["seen"][-1]
    return (
        choice.extractor, choice.strategy, above, choice.latent_bytes, min(exemplars, seen),
        _tail_bytes(choice), max(one["most_bytes"] for one in done),
        f"{mean(one['learn_us'] for one in done) / 1000:.2f}",
        f"{mean(one['settle_ms'] for one in done):.1f}",
        str(Spread.of([one["accuracy"] for one in done], 100)),
        str(Spread.of([one["forgetting"] for one in done], 100)), len(done),
    )  # fmt: skip


def _tail_bytes(choice: Choice) -> int:
    if not choice.is_cut:
        return 0
    from edge_cl.tail.net import TailNet

    with find_extractor(choice.extractor) as cut:
        return 4 * TailNet(cut.spec.tail or b"").size
