"""The pages say what the code does: every route, problem, setting and metric, no more."""

from __future__ import annotations

import re
from pathlib import Path

from service.config import Settings
from service.errors import KINDS
from service.routes import ROUTERS

DOCS = Path(__file__).parents[2] / "docs"


def column(page, pattern):
    return set(re.findall(pattern, (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE))


def test_every_route_is_described():
    routes = {
        f"{method} {route.path_format}"
        for router in ROUTERS
        for route in router.routes
        for method in route.methods
        if route.include_in_schema
    }
    assert column("api.md", r"^\| `((?:GET|POST|PUT|PATCH|DELETE) /[a-z][^`]*)` \|") == routes


def test_every_problem_is_described():
    stated = column("api.md", r"^\| (\d{3}) \| `([a-z-]+)` \|")
    assert stated == {(str(kind.status), name) for name, kind in KINDS.items()}


def test_every_setting_is_described():
    names = {"data" if name == "folder" else name for name in Settings.model_fields}
    assert column("settings.md", r"^\| `([a-z_]+)` \|") == names
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    for field in Settings.model_fields.values():
        assert str(field.description) in page


def test_every_metric_is_described(latents):
    text = latents.client.get("/metrics").text
    found = set(re.findall(r"^# TYPE (\w+) (?:counter|gauge|histogram)", text, re.MULTILINE))
    stated = column("api.md", r"`(edge_cl_\w+)`")
    assert stated == {name for name in found if not name.endswith("_created")}
