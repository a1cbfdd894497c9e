"""Named checkpoints in archives: the same states elsewhere, and nothing that is none of them."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from serving_kit import Running, add_learner, latent, lesson, settings_for
from test_transfer import imported, nothing_left, packed, resealed, taught, unpacked

from edge_cl.client import Client
from service import snapshots, transfer
from service.archive import LARGEST_MANIFEST_BYTES, MOST_CHECKPOINTS, NAMES
from service.checkpoints import Checkpoints

LEARNER = "/v1/learners/l"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service whose learner `l` has the checkpoints `one` and `two`."""
    running = Running(settings_for(tmp_path_factory.mktemp("service")), None)
    add_learner(running.client, strategy="replay", options={"hidden": [8]})
    for name, start in (("one", 0), ("two", 4)):
        taught(running.client, "l", 4, start)
        made = running.client.post(f"{LEARNER}/checkpoints", json={"name": name})
        assert made.status_code == 201
    taught(running.client, "l", 3, 8)
    yield running
    running.close()


@pytest.fixture(scope="module")
def archive(service):
    return service.client.get(f"{LEARNER}/export").content


def checkpoints(client, name="l"):
    return client.get(f"/v1/learners/{name}/versions").json()["checkpoints"]


def test_a_date_is_kept_by_a_disk_that_keeps_milliseconds_only(tmp_path):
    kept = Checkpoints(tmp_path, most_bytes=1 << 20)
    kept.write("one", 4, 1, b"state")
    file = next(tmp_path.iterdir())
    for thousandths in range(0, 1000, 7):
        when = 1795853580 + thousandths / 1000
        kept.date("one", 4, when)
        assert file.stat().st_mtime_ns % 1_000_000 == 0
        assert kept.find("one").created_at == when


def test_a_checkpoint_is_listed_with_the_date_that_its_copies_will_have(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, most_bytes=1 << 20)
    monkeypatch.setattr(snapshots.time, "time", lambda: 1795853580.0504)
    kept.write("one", 4, 1, b"state")
    listed = kept.find("one")
    assert listed.created_at == kept.read(listed).written_at == 1795853580.05


def scores(client, name):
    body = {"samples": [{"latent": latent(kind, 50 + kind)} for kind in range(4)]}
    answer = client.post(f"/v1/learners/{name}/predict?top_k=9", json=body).json()
    return [one["top"] for one in answer["predictions"]]


def test_they_come_along_and_can_be_gone_back_to_to_the_bit(service, archive, start):
    other = start()
    answer = imported(other.client, archive, "copy")
    assert answer.status_code == 201, answer.text
    assert checkpoints(other.client, "copy") == checkpoints(service.client)
    assert imported(service.client, archive, "twin").status_code == 201
    for name in ("two", "one"):
        for client, learner in ((service.client, "twin"), (other.client, "copy")):
            gone = client.post(f"/v1/learners/{learner}/rollback", json={"to": name})
            assert gone.status_code == 200, gone.text
        assert scores(other.client, "copy") == scores(service.client, "twin")
    service.client.delete("/v1/learners/twin")
    assert checkpoints(start().client, "copy") == checkpoints(service.client)


def test_they_lie_in_a_folder_of_the_tar_file(archive, tmp_path):
    files = unpacked(archive)
    named = [name for name in files if name.startswith("checkpoints/")]
    assert named == [
        f"checkpoints/{version:015d}-{name}.checkpoint"
        for version, name in ((4, "one"), (9, "two"))
    ]
    (tmp_path / "l.tar.zst").write_bytes(archive)
    listed = subprocess.run(
        ["tar", "--zstd", "-tf", "l.tar.zst"], cwd=tmp_path, capture_output=True, text=True
    )
    if listed.returncode == 0:
        assert named == listed.stdout.split()[-2:]


def test_without_them_it_is_an_archive_as_before(service, tmp_path):
    plain = service.client.get(f"{LEARNER}/export", params={"checkpoints": "false"}).content
    assert list(unpacked(plain)) == ["manifest.json", "learner.json", "snapshot", "journal.db"]
    assert imported(service.client, plain, "bare").status_code == 201
    assert checkpoints(service.client, "bare") == []
    service.client.delete("/v1/learners/bare")
    with Client(service.url, learner="l") as client:
        with_them = client.export(tmp_path / "all")
        assert client.export(tmp_path / "few", checkpoints=False) < with_them


def test_a_damaged_checkpoint_stays_at_home(start):
    running = start()
    add_learner(running.client, strategy="replay")
    for number, name in enumerate(("good", "bad")):
        running.client.post(f"{LEARNER}/samples", json=lesson(number))
        running.client.post(f"{LEARNER}/checkpoints", json={"name": name})
    folder = running.serving.registry.get("l").store.folder / "checkpoints"
    (path,) = folder.glob("*-bad.checkpoint")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    sent = running.client.get(f"{LEARNER}/export").content
    assert imported(running.client, sent).status_code == 201
    assert [one["name"] for one in checkpoints(running.client, "copy")] == ["good"]


def renamed(files, name):
    """The archive's files with the first checkpoint under another name."""
    old = "checkpoints/000000000000004-one.checkpoint"
    return {name if one == old else one: body for one, body in files.items()}


def edited(files, change):
    name = "checkpoints/000000000000004-one.checkpoint"
    return {**files, name: change(files[name])}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda f: renamed(f, "checkpoints/../../../outside"), "cannot be used"),
        (lambda f: renamed(f, "checkpoints/4-one.checkpoint"), "cannot be used"),
        (lambda f: renamed(f, "checkpoints/000000000000004-.one.checkpoint"), "cannot be used"),
        (lambda f: renamed(f, "checkpoints/000000000000004-a/b.checkpoint"), "cannot be used"),
        (lambda f: renamed(f, "checkpoints/000000000000004-one.checkpoint\n"), "cannot be used"),
        (lambda f: renamed(f, f"checkpoints/{4:015d}-{'n' * 65}.checkpoint"), "cannot be used"),
        (lambda f: renamed(f, "checkpoints/000000000000005-one.checkpoint"), "checkpoint one: "),
        (lambda f: edited(f, lambda body: body[:-1] + b"x"), "do not match their SHA-256"),
        (lambda f: edited(f, lambda body: b""), "checkpoint one: "),
    ],
)
def test_what_is_no_checkpoint_is_refused_and_leaves_nothing(service, archive, made, said):
    answer = imported(service.client, packed(resealed(made(unpacked(archive)))))
    assert answer.status_code == 422, answer.text
    assert "invalid-archive" in answer.json()["type"]
    assert said in answer.json()["detail"]
    assert nothing_left(service)


def test_a_checkpoint_of_another_learner_is_refused(service, archive):
    add_learner(service.client, "wide", dim=9, strategy="replay")
    body = {"samples": [{"label": "a", "latent": latent(0, dim=9)}]}
    for _ in range(4):
        service.client.post("/v1/learners/wide/samples", json=body)
    service.client.post("/v1/learners/wide/checkpoints", json={"name": "one"})
    others = unpacked(service.client.get("/v1/learners/wide/export").content)
    name = "checkpoints/000000000000004-one.checkpoint"
    mixed = {**unpacked(archive), name: others[name]}
    answer = imported(service.client, packed(resealed(mixed)))
    assert "not of this learner's past" in answer.json()["detail"]
    assert nothing_left(service)


def test_a_changed_byte_is_found_by_the_manifest(service, archive):
    files = edited(unpacked(archive), lambda body: body[:-1] + bytes([body[-1] ^ 1]))
    answer = imported(service.client, packed(files))
    assert "its SHA-256 does not match" in answer.json()["detail"]
    assert nothing_left(service)


def test_more_bytes_than_checkpoints_may_have_are_refused_before_they_are_read(archive, start):
    small = start(checkpoint_bytes="1KiB")
    answer = imported(small.client, archive)
    assert answer.status_code == 413
    assert re.search(
        r"its checkpoints have [\d,]+ bytes, at most 1,024 are taken: export it with "
        r"\?checkpoints=false, or raise checkpoint_bytes",
        answer.json()["detail"],
    )
    assert nothing_left(small)


def test_more_checkpoints_than_an_archive_takes_are_not_sent(service, monkeypatch):
    monkeypatch.setattr(transfer, "MOST_CHECKPOINTS", 1)
    answer = service.client.get(f"{LEARNER}/export")
    assert answer.status_code == 409
    assert "has 2 checkpoints, an archive takes at most 1" in answer.json()["detail"]


def test_as_many_as_an_archive_takes_fit_into_its_manifest():
    longest = f"checkpoints/{10**15 - 1:015d}-{'n' * 64}.checkpoint"
    assert re.match(NAMES, longest)
    note = {"name": longest, "bytes": 2**30, "sha256": "0" * 64}
    assert len(json.dumps([note] * MOST_CHECKPOINTS)) + 4096 < LARGEST_MANIFEST_BYTES
