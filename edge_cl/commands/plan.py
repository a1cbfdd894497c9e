"""``edge-cl plan``: what fits into a budget, by the learner's own arithmetic."""

from __future__ import annotations

import click

from edge_cl import strategies
from edge_cl.budget import format_bytes
from edge_cl.codec import names as codec_names
from edge_cl.commands.output import print_json, print_table
from edge_cl.errors import InvalidOption
from edge_cl.planner import AUTO, Plan, choose, make_plan
from edge_cl.types import LatentSpec


@click.command()
@click.option("--budget", default="8MiB", show_default=True, help="Memory budget of the learner.")
@click.option(
    "--classes", type=click.IntRange(1, 100_000), default=10, show_default=True, help="Classes."
)
@click.option(
    "--dim", type=click.IntRange(1, 65536), default=512, show_default=True, help="Latent width."
)
@click.option("--strategy", default=AUTO, show_default=True, help="Strategy; `auto` chooses.")
@click.option(
    "--update-ms", type=click.FloatRange(0, min_open=True), help="Time that a sample may take."
)
@click.option("--codec", type=click.Choice(codec_names()), help="How an exemplar is stored.")
@click.option("--float-latents", is_flag=True, help="Latents are float32, not uint8 codes.")
@click.option("--json", "as_json", is_flag=True, help="Write the plan as JSON.")
def plan(
    budget: str,
    classes: int,
    dim: int,
    strategy: str,
    update_ms: float | None,
    codec: str | None,
    float_latents: bool,
    as_json: bool,
) -> None:
    """Show what fits into a memory budget: exemplars, and bytes by part.

    The figures are those of a learner that knows all classes and whose replay
    memory is full, with names of 16 bytes; the learner itself keeps to them. `auto`
    takes what was measured to be most accurate, and says why.
    """
    spec = LatentSpec(dim) if float_latents else LatentSpec(dim, scale=1.0)
    choice = None
    if strategy == AUTO and not codec:
        choice = choose(budget, spec=spec, classes=classes, update_ms=update_ms)
        made = choice.plan
    else:
        made = _given(budget, strategy, codec, classes, spec)
    if as_json:
        chosen = {} if choice is None else {
            "options": choice.options, "accuracy": choice.accuracy,
            "update_ms": choice.update_ms, "reasons": choice.reasons,
        }  # fmt: skip
        print_json({**vars(made), "total_bytes": made.total_bytes, **chosen})
        return
    for line in () if choice is None else choice.reasons:
        click.echo(line)
    rows = [
        (part, part_bytes, f"{part_bytes / made.budget_bytes:.1%}")
        for part, part_bytes in sorted(made.ledger.items(), key=lambda item: -item[1])
        if part_bytes
    ]
    rows.append(("all parts", made.total_bytes, f"{made.total_bytes / made.budget_bytes:.1%}"))
    print_table(_title(made, classes), ["part", "bytes", "of the budget"], rows)


def _given(budget: str, strategy: str, codec: str | None, classes: int, spec: LatentSpec) -> Plan:
    """The plan of a strategy that the user names."""
    if strategy == AUTO:
        raise InvalidOption("auto chooses the codec: leave out --codec, or name a strategy")
    if codec and "codec" not in strategies.find(strategy).options_type.model_fields:
        raise InvalidOption(f"strategy {strategy!r} keeps no exemplars: leave out --codec")
    options = {"codec": codec} if codec else {}
    return make_plan(strategy, budget, classes=classes, spec=spec, options=options)


def _title(made: Plan, classes: int) -> str:
    kept = sum(made.exemplars.values())
    exemplars = f"{kept:,} exemplars, {kept // classes:,} a class" if kept else "no exemplars"
    return f"{made.strategy} in {format_bytes(made.budget_bytes)}: {exemplars}"
