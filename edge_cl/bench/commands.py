"""``edge-cl bench …``."""

from __future__ import annotations

import click

from edge_cl.commands.lazy import Lazy, LazyGroup

BENCHES = {
    "memory": Lazy("edge_cl.bench.memory:memory", "Memory of a real service, idle and learning."),
    "http-cifar": Lazy("edge_cl.bench.http_cifar:http_cifar", "CIFAR-10 through HTTP."),
    "extractor": Lazy("edge_cl.bench.extractor:extractor", "Accuracy and speed of an extractor."),
    "run": Lazy("edge_cl.bench.grid:run_command", "Strategies on streams, one JSON a run."),
    "unknown": Lazy("edge_cl.bench.unknown:unknown", "What tells the unknown, and calibration."),
    "report": Lazy("edge_cl.bench.grid_report:report_command", "Runs as Markdown and HTML."),
    "bytes": Lazy("edge_cl.bench.bytes_curve:bytes_command", "Accuracy over bytes, by codec."),
    "division": Lazy(
        "edge_cl.bench.division:division_command", "A budget, for statistics and exemplars."
    ),
    "replay-layer": Lazy(
        "edge_cl.bench.replay_layer:replay_layer_command", "Bytes, time, accuracy by replay layer."
    ),
    "endurance": Lazy("edge_cl.bench.endurance:endurance", "A long stream in few bytes."),
    "plan-table": Lazy(
        "edge_cl.bench.plan_table:plan_table_command", "The planner's table, from the results."
    ),
    "overview": Lazy("edge_cl.bench.overview:overview_command", "The page of all strategies."),
}


@click.group(cls=LazyGroup, lazy=BENCHES)
def bench() -> None:
    """Measure memory, speed and accuracy; every figure in the documents comes from here."""
