"""Imports run one way: service, learner, its parts, the surfaces, the nouns."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each layer may import itself and those after it. A name stands for a module or a package.
LAYERS = (
    {"service"},
    {"edge_cl"},
    {"edge_cl.onnx_export"},
    {"edge_cl.learner"},
    {"edge_cl.monitoring"},
    {"edge_cl.planner", "edge_cl.rebuild"},
    {"edge_cl.corrections", "edge_cl.neighbours", "edge_cl.published"},
    {"edge_cl.unknown"},
    {
        "edge_cl.strategies",
        "edge_cl.extractor",
        "edge_cl.checkpoint",
        "edge_cl.frontends",
        "edge_cl.latents",
        "edge_cl.names",
        "edge_cl.recall",
    },
    {"edge_cl.generator", "edge_cl.isolation", "edge_cl.tail"},
    {"edge_cl.strategy"},
    {"edge_cl.normalised_head", "edge_cl.column", "edge_cl.unlearning"},
    {"edge_cl.memory", "edge_cl.head"},
    {"edge_cl.options"},
    {
        "edge_cl.codec",
        "edge_cl.optimizer",
        "edge_cl.projection",
        "edge_cl.factors",
        "edge_cl.fixed_point",
        "edge_cl.layout",
        "edge_cl.older_layouts",
        "edge_cl.scatter",
        "edge_cl.triangle",
    },
    {"edge_cl.state"},
    {"edge_cl.equations", "edge_cl.budget"},
    {"edge_cl.types"},
    {"edge_cl.errors"},
)
# Tools around the library: they may import it, it may not import them.
TOOLS = {
    "edge_cl.__main__",
    "edge_cl.bench",
    "edge_cl.checks",
    "edge_cl.cli",
    "edge_cl.client",
    "edge_cl.commands",
    "edge_cl.demo",
    "edge_cl.local_service",
    "edge_cl.mqtt",
    "edge_cl.toolchain",
}
# The library has no HTTP, no SQL, no clock and no terminal.
NOT_IN_THE_LIBRARY = {
    "click",
    "datetime",
    "fastapi",
    "httpx",
    "rich",
    "sqlite3",
    "starlette",
    "time",
    "uvicorn",
}


def part_of(module):
    """The entry of the tables above that `module` belongs to, or None for other packages."""
    words = module.split(".")
    if words[0] == "service":
        return "service"
    return ".".join(words[:2]) if words[0] == "edge_cl" else None


def module_name(path):
    words = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def imports(path):
    """Every module that the file imports anywhere, with the names it takes from packages."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if is_module(inner) else node.module


def is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


FILES = sorted([*ROOT.glob("edge_cl/**/*.py"), *ROOT.glob("service/**/*.py")])
RUN_TIME = [path for path in FILES if part_of(module_name(path)) not in TOOLS]


def layer_of(part):
    found = [index for index, layer in enumerate(LAYERS) if part in layer]
    assert found, f"{part} stands in no layer: add it to LAYERS or TOOLS in {Path(__file__).name}"
    return found[0]


@pytest.mark.parametrize("path", RUN_TIME, ids=module_name)
def test_run_time_imports_only_downwards(path):
    own_layer = layer_of(part_of(module_name(path)))
    upwards = [
        imported
        for imported in imports(path)
        if (part := part_of(imported)) and (part in TOOLS or layer_of(part) < own_layer)
    ]
    assert upwards == []


@pytest.mark.parametrize(
    "path",
    [path for path in RUN_TIME if part_of(module_name(path)) != "service"],
    ids=module_name,
)
def test_the_library_knows_no_http_sql_clock_or_terminal(path):
    foreign = {imported.split(".")[0] for imported in imports(path)} & NOT_IN_THE_LIBRARY
    assert foreign == set()


def test_the_client_stands_alone():
    """A device that only sends must not load what learns."""
    for path in ROOT.glob("edge_cl/client/*.py"):
        own = {part for imported in imports(path) if (part := part_of(imported))}
        assert own <= {"edge_cl.client", "edge_cl.errors"}, path
