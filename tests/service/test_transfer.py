"""Moving learners: the same bits on the other side, and nothing of a bad archive."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sqlite3
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
import zstandard
from serving_kit import DIM, Running, add_learner, jpeg, latent, lesson, settings_for

from service import transfer
from service.archive import LARGEST_MANIFEST_BYTES, LARGEST_WINDOW_BYTES, Manifest
from service.snapshots import KEPT

FILES = ["learner.json", "snapshot", "journal.db"]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service with the learner `l`, which knows three classes."""
    folder = tmp_path_factory.mktemp("service")
    running = Running(settings_for(folder, max_import_bytes="8MiB"), None)
    add_learner(running.client, strategy="ar1", options={"hidden": [8]})
    taught(running.client, "l", 12)
    yield running
    running.close()


def taught(client, name, count, start=0):
    for row in range(start, start + count):
        body = lesson(row % 3, seed=row)
        key = {"Idempotency-Key": f"key {row}"}
        answer = client.post(f"/v1/learners/{name}/samples", json=body, headers=key)
        assert answer.status_code == 201, answer.text


def asked(client, name):
    body = {"samples": [{"latent": latent(kind, 900 + kind)} for kind in range(5)]}
    answer = client.post(f"/v1/learners/{name}/predict?top_k=10", json=body).json()
    return answer["model_version"], [one["top"] for one in answer["predictions"]]


def exported(client, name="l"):
    answer = client.get(f"/v1/learners/{name}/export")
    assert answer.status_code == 200, answer.text
    return answer.content


def imported(client, archive, name="copy", kind="application/zstd"):
    headers = {"Content-Type": kind}
    return client.post(
        "/v1/learners/import", params={"name": name}, content=archive, headers=headers
    )


def unpacked(archive):
    plain = zstandard.ZstdDecompressor().decompress(archive)
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def packed(files, *, names=None, kinds=None, compress=None):
    """An archive of `files`, some of them under other names or of other kinds."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo((names or {}).get(name, name))
            info.size, info.type = len(content), (kinds or {}).get(name, tarfile.REGTYPE)
            tar.addfile(info, io.BytesIO(content))
    # Python fills up to 20 blocks; an archive ends with two.
    blocks = sum(512 + len(content) + -len(content) % 512 for content in files.values()) + 1024
    compress = compress or zstandard.ZstdCompressor(write_checksum=True).compress
    return compress(plain.getvalue()[:blocks])


def resealed(files, **changes):
    """`files` with a manifest that fits them."""
    manifest = json.loads(files["manifest.json"])
    manifest["files"] = [
        {"name": name, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        for name, body in files.items()
        if name != "manifest.json"
    ]
    return {**files, "manifest.json": json.dumps({**manifest, **changes}).encode()}


def nothing_left(running):
    learners = {one["name"] for one in running.client.get("/v1/learners").json()["learners"]}
    return {path.name for path in (running.serving.settings.folder / "learners").iterdir()} == (
        learners
    )


def test_a_moved_learner_predicts_and_learns_on_to_the_bit(service, tmp_path):
    archive = exported(service.client)
    other = Running(settings_for(tmp_path / "other"), None)
    try:
        answer = imported(other.client, archive, "moved")
        assert answer.status_code == 201, answer.text
        assert answer.headers["Location"] == "/v1/learners/moved"
        # The snapshot has it all: nothing was learned anew.
        assert other.serving.registry.get("moved").store.replayed == 0
        assert asked(other.client, "moved") == asked(service.client, "l")
        for path in ("/samples", "/classes", "/metrics"):
            mine = service.client.get(f"/v1/learners/l{path}").json()
            theirs = other.client.get(f"/v1/learners/moved{path}").json()
            # How long requests took is of the service, not of the learner.
            assert mine | {"learner": "", "latency": 0} == theirs | {"learner": "", "latency": 0}
        assert imported(service.client, archive, "twin").status_code == 201
        for client, name in ((service.client, "twin"), (other.client, "moved")):
            taught(client, name, 9, start=12)
            client.post(f"/v1/learners/{name}/experience/end")
        assert asked(other.client, "moved") == asked(service.client, "twin")
        # What was taught before the move is known by its key after it.
        again = other.client.post(
            "/v1/learners/moved/samples", json=lesson(0), headers={"Idempotency-Key": "key 0"}
        )
        assert again.headers["Idempotent-Replayed"] == "true"
    finally:
        other.close()
        service.client.delete("/v1/learners/twin")


def test_a_moved_learner_survives_a_restart(start, service):
    running = start()
    assert imported(running.client, exported(service.client)).status_code == 201
    before = asked(running.client, "copy")
    assert asked(start().client, "copy") == before


def test_images_before_and_after_the_move(start, extractor, tmp_path):
    running = start(extractor)
    path = "/v1/learners/default"
    for channel, label in enumerate(("red", "green")):
        headers = {"Content-Type": "image/jpeg"}
        body = {"params": {"label": label}, "content": jpeg(channel), "headers": headers}
        assert running.client.post(f"{path}/samples", **body).status_code == 201
    archive = exported(running.client, "default")
    assert imported(running.client, archive).status_code == 201
    answers = [
        running.client.post(
            f"/v1/learners/{name}/predict", content=jpeg(0, 5), headers=headers
        ).json()["predictions"][0]["top"]
        for name in ("default", "copy")
    ]
    assert answers[0] == answers[1]
    files = unpacked(archive)
    origin = json.loads(files["learner.json"]) | {"extractor_sha256": "0" * 64}
    files["learner.json"] = json.dumps(origin).encode()
    refused = imported(running.client, packed(resealed(files)), "foreign")
    assert refused.status_code == 422
    assert refused.json()["type"].endswith("extractor-mismatch")


def test_the_archive_is_what_the_page_says(service, tmp_path):
    archive = exported(service.client)
    files = unpacked(archive)
    assert list(files) == ["manifest.json", *FILES]
    manifest = Manifest.model_validate_json(files["manifest.json"])
    assert {one.name: (one.bytes, one.sha256) for one in manifest.files} == {
        name: (len(files[name]), hashlib.sha256(files[name]).hexdigest()) for name in FILES
    }
    frame = zstandard.get_frame_parameters(archive)
    assert frame.has_checksum
    assert frame.content_size == sum(512 + len(f) + -len(f) % 512 for f in files.values()) + 1024
    for name in ("snapshot", "journal.db"):
        assert b"pickle" not in files[name]
    path = tmp_path / "learner.tar.zst"
    path.write_bytes(archive)
    listed = subprocess.run(
        ["tar", "-tf", "-"],
        input=zstandard.ZstdDecompressor().decompress(archive), capture_output=True, check=True,
    )  # fmt: skip
    assert listed.stdout.split() == [name.encode() for name in files]


def test_a_learner_that_was_never_saved_or_taught(service):
    add_learner(service.client, "empty")
    archive = exported(service.client, "empty")
    assert imported(service.client, archive).status_code == 201
    assert service.client.get("/v1/learners/copy").json()["samples_seen"] == 0
    for name in ("empty", "copy"):
        service.client.delete(f"/v1/learners/{name}")


@pytest.mark.parametrize("keep", [0, 3, 40, 400, 0.5, 0.999])
def test_truncated_archives(service, keep):
    archive = exported(service.client)
    kept = archive[: keep if isinstance(keep, int) else int(keep * len(archive))]
    refused = imported(service.client, kept)
    assert refused.status_code == 422
    assert refused.json()["type"].endswith("invalid-archive")
    assert nothing_left(service)


def test_a_flipped_byte_anywhere(service):
    archive = exported(service.client)
    step = len(archive) // 40
    for place in range(0, len(archive), step):
        damaged = bytearray(archive)
        damaged[place] ^= 0x10
        answer = imported(service.client, bytes(damaged))
        if answer.status_code == 201:
            # Some bits of a frame carry nothing: its checksum holds, the content is whole.
            assert unpacked(bytes(damaged)) == unpacked(archive), place
            name = answer.json()["name"]
            assert service.client.delete(f"/v1/learners/{name}").status_code == 204
            continue
        assert answer.status_code in (413, 422), place
        assert nothing_left(service)


def without(name):
    return lambda files: packed(resealed({n: c for n, c in files.items() if n != name}))


def renamed(name, to):
    return lambda files: packed(files, names={name: to})


def of_kind(name, kind):
    return lambda files: packed(files, kinds={name: kind})


def manifest_with(**changes):
    return lambda files: packed(resealed(files, **changes))


def with_file(name, content):
    return lambda files: packed(resealed({**files, name: content}))


def journal_with(*statements):
    def changed(files):
        with tempfile.NamedTemporaryFile() as file:
            file.write(files["journal.db"])
            file.flush()
            with contextlib.closing(sqlite3.connect(file.name)) as database:
                for statement in statements:
                    database.execute(statement)
                database.commit()
            content = Path(file.name).read_bytes()
        return packed(resealed({**files, "journal.db": content}))

    return changed


def of_unknown_size(files):
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    return packed(files, compress=compressor.compress)


def of_a_wide_window(files):
    parameters = zstandard.ZstdCompressionParameters(
        window_log=LARGEST_WINDOW_BYTES.bit_length() + 1, write_content_size=True
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)

    def streamed(plain):
        stream = compressor.compressobj(size=len(plain) * 2**10)
        return stream.compress(plain)

    return packed(files, compress=streamed)


def with_more_behind(files):
    return packed({**files, "more": b"x"})


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (renamed("snapshot", "../../../evil"), "should follow"),
        (renamed("snapshot", "/etc/evil"), "should follow"),
        (renamed("journal.db", "snapshots/1"), "should follow"),
        (of_kind("snapshot", tarfile.SYMTYPE), "should follow"),
        (of_kind("journal.db", tarfile.LNKTYPE), "should follow"),
        (of_kind("learner.json", tarfile.XHDTYPE), "should follow"),
        (of_kind("manifest.json", tarfile.DIRTYPE), "should follow"),
        (with_file("../evil", b"x"), "manifest cannot be used"),
        (with_more_behind, "do not agree"),
        (without("journal.db"), "its files are"),
        (without("learner.json"), "its files are"),
        (manifest_with(version=2), "newer version"),
        (manifest_with(format="another"), "manifest cannot be used"),
        (manifest_with(sequence=-1), "manifest cannot be used"),
        (manifest_with(sequence=3), "cannot be read"),
        (manifest_with(name="x" * LARGEST_MANIFEST_BYTES), "manifest has"),
        (with_file("learner.json", b"{}"), "learner.json"),
        (with_file("learner.json", b"\xff"), "learner.json"),
        (with_file("snapshot", b"no snapshot"), "cannot be read"),
        (with_file("journal.db", b"no journal"), "not a database"),
        (journal_with("CREATE TRIGGER t AFTER INSERT ON sample BEGIN SELECT 1; END"), "no journal"),
        (journal_with("CREATE VIEW v AS SELECT 1"), "no journal"),
        (journal_with("CREATE TABLE more(x)"), "no journal"),
        (journal_with("ALTER TABLE quarantined ADD COLUMN x"), "no journal"),
        (journal_with("UPDATE operation SET payload=x'00' WHERE sequence=5"), "CRC32"),
        (journal_with("DELETE FROM operation WHERE sequence=5"), "one sequence"),
        (journal_with("UPDATE operation SET sequence=9000000000 WHERE sequence=12"), "sequence"),
        (journal_with("INSERT INTO damage VALUES(1, 900000000000, 0, 1, '', 0)"), "sequence"),
        (of_unknown_size, "does not declare its size"),
        (of_a_wide_window, "unpacked"),
        (lambda _: b"PK\x03\x04" + bytes(100), "no zstd file"),
        (lambda _: zstandard.compress(b"no tar at all" * 100), "damaged"),
        (lambda _: zstandard.compress(bytes(4_000_000)), "damaged"),
    ],
)
def test_archives_that_trick(service, made, said):
    folder = service.serving.settings.folder
    before = {path.name for path in folder.parent.rglob("*")}
    refused = imported(service.client, made(unpacked(exported(service.client))))
    assert refused.status_code in (413, 422), refused.text
    assert said in refused.json()["detail"]
    assert nothing_left(service)
    new = {path.name for path in folder.parent.rglob("*")} - before
    assert all(name.endswith((".snapshot", "-wal", "-shm")) for name in new)


def test_a_bomb_is_refused_by_what_it_declares(service):
    bomb = zstandard.compress(bytes(200_000_000))
    assert len(bomb) < 10_000
    refused = imported(service.client, bomb)
    assert refused.status_code == 413
    assert "200,000,000" in refused.json()["detail"]


def test_a_frame_that_hides_its_size_is_not_decompressed(service):
    """A header that says 1,000 bytes before content of megabytes."""
    bomb = bytearray(zstandard.compress(bytes(5_000_000)))
    start = zstandard.frame_header_size(bytes(bomb)) - 4
    assert int.from_bytes(bomb[start : start + 4], "little") == 5_000_000
    bomb[start : start + 4] = (1000).to_bytes(4, "little")
    assert imported(service.client, bytes(bomb)).status_code == 422


def test_limits_and_types(service):
    assert imported(service.client, bytes(9_000_000)).status_code == 413
    assert imported(service.client, b"", kind="application/json").status_code == 415
    archive = exported(service.client)
    assert imported(service.client, archive, "l").status_code == 409
    assert imported(service.client, archive, "../x").status_code == 422
    assert service.client.get("/v1/learners/none/export").status_code == 404
    assert nothing_left(service)


def test_a_budget_that_does_not_fit(start, service):
    running = start(learners_budget="512KiB", max_learners=3)
    add_learner(running.client, "one", memory_budget="384KiB")
    refused = imported(running.client, exported(service.client))
    assert refused.status_code == 507
    assert nothing_left(running)


def test_a_full_disk_leaves_nothing(service, monkeypatch):
    archive = exported(service.client)

    def full(*_):
        raise OSError(28, "No space left on device")

    for name in ("unpack", "check_foreign"):
        with monkeypatch.context() as patched:
            patched.setattr(transfer, name, full)
            refused = imported(service.client, archive)
            assert refused.status_code == 507
            assert nothing_left(service)
    with monkeypatch.context() as patched:
        patched.setattr(transfer, "keep_file", full)
        assert service.client.get("/v1/learners/l/export").status_code == 507
        assert nothing_left(service)


def test_what_a_crash_left_is_gone_after_the_next_start(start):
    running = start()
    folder = running.serving.settings.folder / "learners"
    for name in (".new-1", ".export-1"):
        (folder / name).mkdir()
        (folder / name / "journal.db").write_bytes(b"x")
    start()
    assert [path.name for path in folder.iterdir()] == []


def test_teaching_goes_on_while_a_learner_is_sent(service, monkeypatch):
    """Between the copy of the snapshot and that of the journal, more is taught and saved."""
    copied = transfer._copied
    rounds = []

    def busy(journal, target):
        if not rounds:
            for row in range(KEPT + 1):
                taught(service.client, "l", 1, start=100 + row)
                service.serving.registry.get("l").worker.save_now().result(30)
        rounds.append(1)
        return copied(journal, target)

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "_copied", busy)
        archive = exported(service.client)
    assert imported(service.client, archive).status_code == 201
    assert asked(service.client, "copy") == asked(service.client, "l")
    service.client.delete("/v1/learners/copy")


def test_one_export_at_a_time(service):
    mover = service.serving.mover
    with mover._exporting:
        refused = service.client.get("/v1/learners/l/export")
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"


def test_a_large_learner_is_moved_in_little_memory(tmp_path):
    """What is packed and unpacked at one time does not grow with the archive."""
    import tracemalloc

    from service.archive import Bounds, Listed, Packed, pack, unpack

    size = 24 * 1024 * 1024
    source = tmp_path / "journal.db"
    source.write_bytes(os.urandom(1024) * (size // 1024))
    (tmp_path / "origin").write_bytes(b"{}")
    files = [Packed("learner.json", (tmp_path / "origin").open("rb"))]
    files.append(Packed("journal.db", source.open("rb")))
    listed: list[Listed] = [file.listed() for file in files]
    manifest = Manifest(
        format="edge-cl learner", version=1, edge_cl="0", name="l", exported_at=0.0, sequence=0,
        files=listed,
    )  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    tracemalloc.start()
    with (tmp_path / "archive").open("wb") as archive:
        archive.writelines(pack(manifest, files))
    unpack(tmp_path / "archive", out, Bounds(2 * size, size, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for file in files:
        file.content.close()
    assert (out / "journal.db").read_bytes() == source.read_bytes()
    assert peak < 4 * 1024 * 1024


def test_dim_is_checked_against_the_saved_learner(service):
    files = unpacked(exported(service.client))
    origin = json.loads(files["learner.json"])
    origin["spec"]["dim"] = DIM + 1
    files["learner.json"] = json.dumps(origin).encode()
    refused = imported(service.client, packed(resealed(files)))
    assert refused.status_code == 422
    assert "not of the same learner" in refused.json()["detail"]


def test_a_learner_as_a_model_that_another_runtime_serves(start, extractor):
    pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[onnx]'")
    ort = pytest.importorskip("onnxruntime")
    running = start(extractor, strategy="slda", memory_budget="1MiB")
    path = "/v1/learners/default"
    empty = running.client.get(f"{path}/export", params={"format": "onnx"})
    assert empty.status_code == 409
    headers = {"Content-Type": "image/jpeg"}
    for seed in range(6):
        label = ("red", "green", "blue")[seed % 3]
        body = {"params": {"label": label}, "content": jpeg(seed % 3, seed), "headers": headers}
        assert running.client.post(f"{path}/samples", **body).status_code == 201
    answer = running.client.get(f"{path}/export", params={"format": "onnx"})
    assert answer.status_code == 200, answer.text
    session = ort.InferenceSession(answer.content, providers=["CPUExecutionProvider"])
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    for channel in range(3):
        image = jpeg(channel, 77)
        given = {session.get_inputs()[0].name: extractor.prepare(image)[None]}
        found = dict(zip(labels, session.run(["probabilities"], given)[0][0], strict=True))
        asked = running.client.post(f"{path}/predict?top_k=3", content=image, headers=headers)
        top = asked.json()["predictions"][0]["top"]
        assert {one["label"]: pytest.approx(one["score"], abs=1e-4) for one in top} == found
    refused = running.client.get(f"{path}/export", params={"format": "pickle"})
    assert refused.status_code == 422


def test_a_strategy_that_is_no_single_network_has_no_model(service):
    add_learner(service.client, "many", strategy="multihead")
    sample = lesson(0, context="here")
    assert service.client.post("/v1/learners/many/samples", json=sample).status_code == 201
    refused = service.client.get("/v1/learners/many/export", params={"format": "onnx"})
    service.client.delete("/v1/learners/many")
    assert refused.status_code == 422
    assert "slda" in refused.json()["detail"]
