"""``edge-cl export`` and ``edge-cl import`` against a real service."""

import numpy as np

from edge_cl import cli
from edge_cl.client import Client
from edge_cl.commands import exits


def test_a_learner_goes_out_and_comes_in(real_service, tmp_path, capsys):
    archive, latents = tmp_path / "learner.tar.zst", np.eye(4, dtype=np.float32)
    asked = ["--url", real_service.url]
    with Client(real_service.url, learner="out") as client:
        client.create_learner("out", dim=4, strategy="slda", memory_budget="64KiB")
        client.teach_latents(latents, list("abab"))
        assert cli.run(["export", str(archive), "--learner", "out", *asked]) == exits.OK
        assert cli.run(["export", str(archive), "--learner", "out", *asked]) == exits.USAGE
        again = [*asked, "--learner", "out", "--force"]
        assert cli.run(["export", str(archive), *again]) == exits.OK
        assert cli.run(["import", str(archive), *asked]) == exits.REFUSED
        assert "'out' already" in capsys.readouterr().err
        assert cli.run(["import", str(archive), "--name", "in", *asked]) == exits.OK
        assert "4 samples of 2 classes" in capsys.readouterr().err
        with Client(real_service.url, learner="in") as other:
            mine, theirs = client.predict_latents(latents), other.predict_latents(latents)
        assert [one.top for one in mine] == [one.top for one in theirs]
        archive.write_bytes(archive.read_bytes()[:-9])
        assert cli.run(["import", str(archive), "--name", "bad", *asked]) == exits.REFUSED
        assert cli.run(["export", str(tmp_path / "x"), "--learner", "no", *asked]) == exits.REFUSED
        for name in ("in", "out"):
            client.delete_learner(name)
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]
