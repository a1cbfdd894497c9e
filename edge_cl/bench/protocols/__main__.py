"""``python -m edge_cl.bench.protocols van_de_ven --method class/ewc --seed 0``."""

from __future__ import annotations

import importlib
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from edge_cl.bench.protocols.page import write_page
from edge_cl.bench.report import machine

PACKAGE = "edge_cl.bench.protocols"


@click.command()
@click.argument("protocol")
@click.option("--method", "methods", multiple=True, help="Row to run; all rows by default.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2), help="Seed.")
@click.option("--quick", is_flag=True, help="Seconds instead of minutes, for a look.")
@click.option("--again", is_flag=True, help="Run also what has a result already.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("docs/results/protocols"),
    help="Folder of the results, one JSON file a run.",
)
def main(
    protocol: str, methods: tuple[str, ...], seeds: tuple[int, ...], quick: bool, again: bool,
    out: Path,
) -> None:  # fmt: skip
    """Run rows of PROTOCOL, a module of edge_cl.bench.protocols, with every seed."""
    module = importlib.import_module(f"{PACKAGE}.{protocol}")
    for seed in seeds:
        for method in methods or tuple(module.ROWS):
            path = out / protocol / f"{method.replace('/', '-')}-{seed}.json"
            if path.is_file() and not again and not quick:
                continue
            result = module.run(method, seed, quick)
            click.echo(f"{protocol} {method} seed {seed}: {100 * result['accuracy']:.2f} %")
            if not quick:
                write_run(path, result)
    if not quick:
        write_page(out, protocol, module)


def write_run(path: Path, result: dict[str, Any]) -> None:
    """One run with the command, the date and the machine that made it."""
    made = {
        "command": f"python -m {PACKAGE} {result['protocol']} --method {result['method']} "
        f"--seed {result['seed']} --again",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": machine(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**result, **made}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
