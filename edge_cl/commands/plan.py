"""``edge-cl plan``: what fits into a budget, by the learner's own arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from edge_cl import strategies
from edge_cl.budget import format_bytes, parse_bytes
from edge_cl.codec import names as codec_names
from edge_cl.commands.output import print_json, print_table
from edge_cl.errors import InvalidOption
from edge_cl.names import NameTable
from edge_cl.options import parse_options
from edge_cl.types import LatentSpec
from edge_cl.unknown import ClassStatistics


@dataclass(frozen=True)
class Plan:
    """What a learner of some budget would keep.

    Parameters
    ----------
    strategy
        Its name.
    budget_bytes
        What it may take.
    ledger
        Bytes by part, once all classes are known and the memory is full.
    exemplars
        Latents that the replay memories hold, by memory.
    """

    strategy: str
    budget_bytes: int
    ledger: dict[str, int]
    exemplars: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(self.ledger.values())


def make_plan(
    strategy: str,
    budget: str,
    *,
    classes: int,
    spec: LatentSpec,
    options: dict[str, Any],
    label_bytes: int = 16,
) -> Plan:
    """Grow an empty learner to so many classes and read its ledger.

    Raises
    ------
    BudgetExceeded
        If they do not fit; the message says how much is needed.
    """
    kind = strategies.find(strategy)
    budget_bytes = parse_bytes(budget)
    labels = NameTable("label", tuple(f"{n:0{label_bytes}d}" for n in range(classes)))
    statistics_bytes = ClassStatistics(spec.dim, streams=True).bytes_for(classes)
    names_bytes = labels.bytes_with_counts
    parsed = parse_options(kind.options_type, options, strategy=strategy)
    allowed_bytes = budget_bytes - statistics_bytes - names_bytes
    built = kind(spec, parsed, seed=0, allowed_bytes=allowed_bytes)
    built.grow(classes, 1, allowed_bytes)
    exemplars = {name: memory.capacity for name, memory in built.memories.items()}
    ledger = {**built.ledger(), "names": names_bytes, "class_statistics": statistics_bytes}
    return Plan(strategy, budget_bytes, ledger, exemplars)


@click.command()
@click.option("--budget", default="8MiB", show_default=True, help="Memory budget of the learner.")
@click.option(
    "--classes", type=click.IntRange(1, 100_000), default=10, show_default=True, help="Classes."
)
@click.option(
    "--dim", type=click.IntRange(1, 65536), default=512, show_default=True, help="Latent width."
)
@click.option("--strategy", default="ar1", show_default=True, help="Strategy.")
@click.option("--codec", type=click.Choice(codec_names()), help="How an exemplar is stored.")
@click.option("--float-latents", is_flag=True, help="Latents are float32, not uint8 codes.")
@click.option("--json", "as_json", is_flag=True, help="Write the plan as JSON.")
def plan(
    budget: str,
    classes: int,
    dim: int,
    strategy: str,
    codec: str | None,
    float_latents: bool,
    as_json: bool,
) -> None:
    """Show what fits into a memory budget: exemplars, and bytes by part.

    The figures are those of a learner that knows all classes and whose replay
    memory is full, with names of 16 bytes; the learner itself keeps to them.
    """
    spec = LatentSpec(dim) if float_latents else LatentSpec(dim, scale=1.0)
    options: dict[str, Any] = {"codec": codec} if codec else {}
    if codec and "codec" not in strategies.find(strategy).options_type.model_fields:
        raise InvalidOption(f"strategy {strategy!r} keeps no exemplars: leave out --codec")
    made = make_plan(strategy, budget, classes=classes, spec=spec, options=options)
    if as_json:
        print_json({**vars(made), "total_bytes": made.total_bytes})
        return
    rows = [
        (part, part_bytes, f"{part_bytes / made.budget_bytes:.1%}")
        for part, part_bytes in sorted(made.ledger.items(), key=lambda item: -item[1])
        if part_bytes
    ]
    rows.append(("all parts", made.total_bytes, f"{made.total_bytes / made.budget_bytes:.1%}"))
    print_table(_title(made, classes), ["part", "bytes", "of the budget"], rows)


def _title(made: Plan, classes: int) -> str:
    kept = sum(made.exemplars.values())
    exemplars = f"{kept:,} exemplars, {kept // classes:,} a class" if kept else "no exemplars"
    return f"{made.strategy} in {format_bytes(made.budget_bytes)}: {exemplars}"
