"""``edge-cl keys``, with a running service and with the folder of a stopped one."""

import json

from edge_cl import cli
from edge_cl.client import Client
from edge_cl.commands import exits
from edge_cl.local_service import LocalService


def test_keys_of_a_stopped_and_of_a_running_service(tmp_path, capsys, monkeypatch):
    def run(*words):
        code = cli.run(["keys", *map(str, words)])
        printed = capsys.readouterr()
        return code, printed.out.strip(), printed.err

    data = tmp_path / "data"
    data.mkdir()
    code, _, error = run("add", "camera", "--scope", "learn", "--data", data)
    assert (code, "admin" in error) == (1, True)
    _, admin, _ = run("add", "admin", "--scope", "admin", "--data", data)
    with LocalService(tmp_path, {"extractor": "none"}) as service:
        code, _, error = run("list", "--data", data)
        assert (code, "in use" in error) == (1, True)
        assert run("list", "--url", service.url)[0] == exits.REFUSED
        monkeypatch.setenv("EDGE_CL_API_KEY", admin)
        asked = ("--url", service.url)
        scopes = ("--scope", "learn", "--scope", "read")
        _, text, _ = run("add", "door", *scopes, "--only", "a", "--days", "1", *asked)
        listed = json.loads(run("list", "--json", *asked)[1])
        assert [one["scopes"] for one in listed] == [["admin"], ["read", "learn"]]
        assert "door" in run("list", *asked)[1]
        with Client(service.url, key=text) as client:
            assert client.learners() == []
        assert run("revoke", listed[1]["id"], *asked)[0] == exits.OK
        assert run("revoke", listed[0]["id"], *asked)[0] == exits.REFUSED
    assert run("revoke", listed[0]["id"], "--data", data)[0] == exits.OK
    assert not (data / "keys.json").exists()
