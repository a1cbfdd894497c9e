"""What the process may use, and who uses it."""

from __future__ import annotations

import pytest
from serving_kit import add_learner, lesson

from service import config, machine

MIB = 2**20


def tree(root, cgroup, **limits):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for path, text in limits.items():
        file = root / "sys/fs/cgroup" / path.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.fixture(autouse=True)
def ram(monkeypatch):
    monkeypatch.setattr(machine, "total_memory_bytes", lambda: 4096 * MIB)


def test_without_a_limit_it_is_the_machine(tmp_path):
    assert machine.allowed_memory_bytes(tmp_path) == 4096 * MIB


@pytest.mark.parametrize(
    ("cgroup", "limits", "allowed"),
    [
        # A container: its group is the root.
        ("0::/\n", {"memory.max": f"{512 * MIB}\n"}, 512),
        ("0::/\n", {"memory.max": "max\n"}, 4096),
        # A unit below a slice that has the tighter limit.
        (
            "0::/a.slice/b.service\n",
            {
                "a.slice__memory.max": str(256 * MIB),
                "a.slice__b.service__memory.max": str(1024 * MIB),
            },
            256,
        ),
        # Version 1, whose "no limit" is a huge number.
        ("4:memory:/x\n", {"memory__x__memory.limit_in_bytes": str(128 * MIB)}, 128),
        ("4:memory:/x\n", {"memory__x__memory.limit_in_bytes": str(2**63 - 4096)}, 4096),
        ("4:cpu:/x\n", {"x__memory.max": str(64 * MIB)}, 4096),
    ],
)
def test_a_cgroup_limits_it(tmp_path, cgroup, limits, allowed):
    assert machine.allowed_memory_bytes(tree(tmp_path, cgroup, **limits)) == allowed * MIB


@pytest.mark.parametrize(("allowed", "budget"), [(512, 128), (32, 16), (0, 64), (2**16, 1024)])
def test_learners_may_take_a_quarter_by_default(monkeypatch, allowed, budget):
    monkeypatch.setattr(config, "allowed_memory_bytes", lambda: allowed * MIB)
    assert config.load_settings().learners_budget == budget * MIB
    chosen = config.load_settings(overrides={"learners_budget": "9MiB"})
    assert chosen.learners_budget == 9 * MIB


def test_memory_is_divided_into_process_extractor_and_learners(start, extractor):
    running = start(extractor)
    add_learner(running.client)
    running.client.post("/v1/learners/l/samples", json=lesson(0, 1))
    states = running.client.get("/v1/learners").json()["learners"]
    memory = running.client.get("/v1/info").json()["memory"]
    assert memory["learners_bytes"] == sum(one["memory_used"] for one in states)
    assert memory["learners_reserved_bytes"] == sum(one["memory_budget"] for one in states)
    assert memory["extractor_bytes"] == extractor.path.stat().st_size
    assert memory["learners_bytes"] + memory["extractor_bytes"] < memory["process_bytes"]
    assert memory["allowed_bytes"] <= 4096 * MIB
    metrics = running.client.get("/metrics").text
    for part in ("process", "extractor", "learners"):
        assert f'edge_cl_memory_used_bytes{{learner="",part="{part}"}}' in metrics
