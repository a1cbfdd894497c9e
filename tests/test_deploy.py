"""Dockerfile and compose file, read as text: no container engine is needed."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from service.config import Settings

ROOT = Path(__file__).parents[1]


def instructions():
    """(name, arguments) of every instruction of the Dockerfile, continuation lines joined."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, arguments = line.strip().partition(" ")
            yield name, arguments.strip()


def last_stage():
    stage = []
    for name, arguments in instructions():
        stage = [] if name == "FROM" else [*stage, (name, arguments)]
    return stage


def arguments_of(wanted):
    return [arguments for name, arguments in last_stage() if name == wanted]


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def service(compose):
    return compose["services"]["edge_cl"]


def test_two_stages_of_a_slim_base():
    bases = [arguments for name, arguments in instructions() if name == "FROM"]
    assert len(bases) == 2
    version = next(arguments for name, arguments in instructions() if name == "ARG")
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-\w+", version)


def test_no_torch_and_no_compiler():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    commands = " ".join(arguments for name, arguments in instructions() if name == "RUN")
    assert not re.search(r"\b(torch|gcc|build-essential|\[all\]|\[dev\])", commands)
    assert "ADD http" not in text


def test_everything_copied_exists_and_is_sent_to_the_builder():
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    for name, arguments in instructions():
        if name == "COPY" and not arguments.startswith("--from"):
            for source in shlex.split(arguments)[:-1]:
                assert (ROOT / source).exists(), source
                assert source in allowed


def test_runs_as_a_numbered_user_without_rights():
    assert arguments_of("USER") == ["10001:10001"]
    names = [name for name, _ in last_stage()]
    assert "RUN" not in names[names.index("USER") :]


def test_stops_and_reports_its_health():
    assert arguments_of("STOPSIGNAL") == ["SIGTERM"]
    assert '["edge-cl", "health"]' in arguments_of("HEALTHCHECK")[0]
    assert arguments_of("ENTRYPOINT") == ['["edge-cl"]']
    assert arguments_of("VOLUME") == ["/data"]


def test_the_environment_of_the_image_is_made_of_settings():
    named = re.findall(r"(EDGE_CL_\w+)=", " ".join(arguments_of("ENV")))
    known = {f"EDGE_CL_{name.upper()}" for name in Settings.model_fields} | {"EDGE_CL_DATA"}
    assert named
    assert set(named) <= known


def test_compose_takes_away_what_is_not_needed(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(mount.startswith("/tmp") for mount in service["tmpfs"])
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["restart"] == "unless-stopped"
    assert "privileged" not in service


def test_compose_keeps_the_data_and_asks_for_a_key(compose, service):
    assert service["volumes"] == ["data:/data"]
    assert "data" in compose["volumes"]
    secret = service["secrets"][0]
    assert secret in compose["secrets"]
    assert service["environment"]["EDGE_CL_API_KEY_FILE"] == f"/run/secrets/{secret}"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_compose_sets_only_settings(service):
    known = {f"EDGE_CL_{name.upper()}" for name in Settings.model_fields} | {"EDGE_CL_DATA"}
    assert set(service["environment"]) <= known


def test_compose_waits_for_the_shutdown(service):
    grace_s = int(service["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings().shutdown_timeout_s


def test_the_build_context_is_the_project(service):
    assert (ROOT / "deploy" / service["build"]["context"]).resolve() == ROOT
