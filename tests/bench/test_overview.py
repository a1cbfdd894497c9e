"""Every strategy has a page, a measured row, and a line in the overview."""

import json
from pathlib import Path

import pytest

from edge_cl import strategies
from edge_cl.bench.overview import LAYERS, PAGES, RESULTS, measured, overview

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results():
    return json.loads((ROOT / RESULTS).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", strategies.names())
def test_every_strategy_has_a_page(name):
    page = ROOT / PAGES / f"{name}.md"
    assert page.is_file(), f"write {page.relative_to(ROOT)}"


@pytest.mark.parametrize("name", strategies.names())
def test_every_strategy_is_measured(name, results):
    layers = json.loads((ROOT / LAYERS).read_text(encoding="utf-8"))
    assert name in measured(results, layers), "run 'edge-cl bench run' and 'edge-cl bench report'"


def test_the_overview_is_what_the_command_writes(results):
    page = (ROOT / PAGES / "README.md").read_text(encoding="utf-8")
    assert page == overview(results), "run 'edge-cl bench overview'"
