"""The demo on handwritten digits, and the parts it is made of."""

import json

import pytest

from edge_cl import cli
from edge_cl.demo import command, images
from edge_cl.demo.images import digits, from_pack, shared_folder
from edge_cl.demo.view import LiveView
from edge_cl.errors import EdgeCLError

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed: it has the digits")


def test_the_demo_loses_nothing(monkeypatch, capsys):
    monkeypatch.setattr(command, "find_images", lambda pack: digits())
    words = ["demo", "--per-class", "6", "--test-per-class", "2", "--budget", "256KiB", "--json"]
    code = cli.run(words)
    out = capsys.readouterr().out
    outcome = json.loads(out[out.index("\n{") :])
    assert code == 0
    assert outcome["acknowledged"] == outcome["stored"] == 60
    assert outcome["lost"] == 0
    assert outcome["restart_s"] > 0
    assert sum(outcome["bytes_by_part"].values()) <= outcome["budget_bytes"] == 256 * 1024
    assert set(outcome["accuracy"]) == {f"digit {n}" for n in range(10)}
    assert "kill -9 after" in out
    assert out.count("taught digit 3") == 1


def test_digits_are_images_of_all_classes():
    found = digits()
    assert found.labels == [f"digit {n}" for n in range(10)]
    assert all(image.startswith(b"\x89PNG") for image in found.train["digit 7"])
    part = found.part(5, 2)
    assert {len(of_label) for of_label in part.train.values()} == {5}
    assert not set(found.train["digit 1"]) & set(found.test["digit 1"])
    assert part == found.part(5, 2)


def test_a_pack_without_the_splits_is_refused(tmp_path):
    import io
    import tarfile

    import zstandard

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in {
            "index.csv": b"path,split,class\na.png,small,x\n",
            "a.png": b"?",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    pack = tmp_path / "odd.tar.zst"
    pack.write_bytes(zstandard.compress(file.getvalue()))
    with pytest.raises(EdgeCLError, match="splits"):
        from_pack(pack)


def test_the_shared_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_CL_SHARED", str(tmp_path))
    assert shared_folder() == tmp_path
    monkeypatch.setenv("EDGE_CL_SHARED", str(tmp_path / "absent"))
    assert shared_folder() is None
    monkeypatch.setattr(images, "digits", lambda: "digits")
    assert images.find_images() == "digits"


def test_the_live_view_draws_every_class(capsys):
    from rich.console import Console

    console = Console(force_terminal=True, width=100)
    with LiveView(["cup", "[bold]"], console) as view:
        view.say("an event")
        view.taught("cup", 3, 6)
        view.measured({"cup": 0.5, "[bold]": 1.0})
    drawn = capsys.readouterr().out
    assert "cup" in drawn
    assert "[bold]" in drawn
    assert "an event" in drawn
    assert "0.750" in drawn
