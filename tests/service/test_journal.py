"""The journal: what is in it, what is missing from it, and that it says so."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import watermark
from service.catalogue import Catalogue
from service.journal import DiskFull, Journal, JournalError
from service.operations import EndExperience, Lesson, Sample, decode
from service.records import Entry, Keep, StoredAnswer
from service.recovery import Saved, open_journal

KEEP = Keep(keys=3, seconds=60)


def lesson(count=1, label="a", dtype=np.float32):
    latents = np.arange(count * 4).reshape(count, 4).astype(dtype)
    return Lesson(latents, tuple(Sample(label, None, f"cam {n % 2}") for n in range(count)))


def write(journal, operations, key=None):
    entries, sequence, next_id = [], journal.last_sequence, journal.next_id
    for operation in operations:
        sequence += 1
        answer = StoredAnswer(b"f", 201, "{}")
        entries.append(Entry(sequence, next_id, operation, key, answer))
        next_id += len(operation.samples)
    journal.append(entries)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture(scope="module")
def ten_operations(tmp_path_factory):
    """Ten operations of two samples, in a database that was closed in order."""
    folder = tmp_path_factory.mktemp("ten")
    journal = Journal(folder / "journal.db", KEEP)
    for _ in range(10):
        write(journal, [lesson(2)])
    rows = {row.sequence: row for row in journal.rows()}
    journal.close()
    return folder, rows


@pytest.fixture
def filled(path, ten_operations):
    """A copy of `ten_operations`."""
    for file in ten_operations[0].iterdir():
        shutil.copy(file, path.parent)
    return path


def reopened(path: Path, saved: Saved = Saved()) -> Journal:  # noqa: B008
    return open_journal(path, KEEP, saved, path.parent / "quarantine")


def edit(path, statement, *values):
    with sqlite3.connect(path) as connection:
        connection.execute(statement, values)
    connection.close()


text = st.text(max_size=20).filter(lambda t: t.isprintable())
sample = st.builds(Sample, text, st.none() | text, st.none() | text, st.none() | text)


@given(st.lists(sample, min_size=1, max_size=6), st.sampled_from([np.uint8, np.float32]))
def test_an_operation_comes_back_as_it_was(samples, dtype):
    latents = np.arange(len(samples) * 3).reshape(-1, 3).astype(dtype)
    back = decode("learn", *Lesson(latents, tuple(samples)).encode())
    assert back.samples == tuple(samples)
    assert back.latents.dtype == dtype
    assert (back.latents == latents).all()


def test_rows_come_back_in_order_with_their_grouping(path):
    journal = Journal(path)
    write(journal, [lesson(3), EndExperience(), lesson(1, "b", np.uint8)])
    rows = list(journal.rows())
    assert [(r.sequence, r.first_id, r.samples, r.kind) for r in rows] == [
        (1, 1, 3, "learn"),
        (2, 4, 0, "end_experience"),
        (3, 4, 1, "learn"),
    ]
    assert all(row.intact for row in rows)
    assert journal.next_id == 5
    journal.close()


def test_a_sequence_has_no_gaps(path):
    journal = Journal(path)
    with pytest.raises(JournalError):
        journal.append([Entry(2, 1, lesson())])
    assert list(journal.rows()) == []
    journal.close()


def test_a_full_disk_stores_nothing_and_can_be_left(path):
    journal = Journal(path)
    write(journal, [lesson()])
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(DiskFull):
        write(journal, [lesson(500), lesson(500)])
    assert [row.sequence for row in journal.rows()] == [1]
    journal._connection.execute("PRAGMA max_page_count=100000")
    write(journal, [lesson(500)])
    assert journal.last_sequence == 2
    journal.close()


def test_an_intact_journal_opens_without_a_word(filled):
    journal = reopened(filled)
    assert journal.damages() == []
    assert (journal.last_sequence, journal.next_id) == (10, 21)
    assert not (filled.parent / "quarantine").exists()
    journal.close()


def test_a_changed_row_is_found_named_and_set_aside(filled):
    edit(filled, "UPDATE operation SET payload=? WHERE sequence=4", b"other")
    journal = reopened(filled)
    (damage,) = journal.damages()
    assert (damage.first, damage.last, damage.samples, damage.learned) == (4, 4, 2, False)
    assert "CRC32" in damage.reason
    assert [row.sequence for row in journal.rows()] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    catalogue = Catalogue(filled)
    assert catalogue.sample(7) is None
    assert sum(count for _, _, count in catalogue.tally()) == 18
    catalogue.close()
    journal.close()
    again = reopened(filled)
    assert len(again.damages()) == 1
    again.close()


@pytest.mark.parametrize("column", ["first_id", "samples", "received_at", "kind", "header", "crc"])
def test_every_field_is_covered_by_the_checksum(filled, column):
    edit(filled, f"UPDATE operation SET {column}=({column} || '7') + 0 WHERE sequence=4")
    journal = reopened(filled)
    assert [d.first for d in journal.damages()] == [4]
    journal.close()


def test_what_a_snapshot_knows_is_not_lost(filled):
    edit(filled, "UPDATE operation SET payload=? WHERE sequence=4", b"other")
    journal = reopened(filled, Saved(6, 13))
    assert [(d.first, d.learned) for d in journal.damages()] == [(4, True)]
    journal.close()


def test_missing_rows_are_found(filled):
    edit(filled, "DELETE FROM operation WHERE sequence IN (3, 4)")
    journal = reopened(filled)
    (damage,) = journal.damages()
    assert (damage.first, damage.last, damage.samples) == (3, 4, 4)
    journal.close()


def test_a_lost_end_is_found_by_the_watermark(filled):
    edit(filled, "DELETE FROM operation WHERE sequence > 7")
    edit(filled, "DELETE FROM sample WHERE sequence > 7")
    journal = reopened(filled)
    (damage,) = journal.damages()
    assert (damage.first, damage.last, damage.samples) == (8, 10, 6)
    write(journal, [lesson()])
    assert [row.sequence for row in journal.rows(7)] == [11]
    assert next(iter(journal.rows(7))).first_id == 21
    journal.close()
    again = reopened(filled)
    assert len(again.damages()) == 1
    again.close()


def test_a_flipped_byte_in_the_wal_is_found(path):
    """SQLite drops everything after it without a word."""
    journal = Journal(path, KEEP)
    write(journal, [lesson(2)])
    for _ in range(20):
        write(journal, [lesson(2)])
    copy = path.parent / "crashed"
    copy.mkdir()
    for name in ("journal.db", "journal.db-wal", "journal.watermark"):
        shutil.copy(path.parent / name, copy)
    journal.close()
    wal = bytearray((copy / "journal.db-wal").read_bytes())
    wal[len(wal) // 2] ^= 0x40
    (copy / "journal.db-wal").write_bytes(wal)
    crashed = reopened(copy / "journal.db")
    (damage,) = crashed.damages()
    assert damage.last == 21
    assert damage.samples == 2 * (21 - damage.first + 1)
    assert list((copy / "quarantine").iterdir())
    crashed.close()


def test_a_torn_write_that_was_never_acknowledged_is_no_damage(path):
    journal = Journal(path, KEEP)
    for _ in range(5):
        write(journal, [lesson(2)])
    copy = path.parent / "crashed"
    copy.mkdir()
    for name in ("journal.db", "journal.db-wal", "journal.watermark"):
        shutil.copy(path.parent / name, copy)
    journal.close()
    with (copy / "journal.db-wal").open("ab") as wal:
        wal.write(b"half a frame")
    crashed = reopened(copy / "journal.db")
    assert crashed.damages() == []
    assert crashed.last_sequence == 5
    crashed.close()


@pytest.mark.parametrize("where", ["head", "rows", "indexes", "empty"])
def test_a_ruined_database_is_salvaged_and_the_loss_is_named(filled, where):
    content = bytearray(filled.read_bytes())
    if where == "head":
        content[:100] = b"\xff" * 100
    elif where != "empty":
        pages = [1] if where == "rows" else range(2, len(content) // 4096)
        for page in pages:
            content[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    else:
        content = bytearray()
    filled.write_bytes(content)
    journal = reopened(filled, Saved(2, 5))
    kept = {row.sequence for row in journal.rows()}
    lost = {n for d in journal.damages() for n in range(d.first, d.last + 1)}
    assert kept | lost == set(range(1, 11))
    assert not kept & lost
    assert bool(lost) == (where != "indexes")
    write(journal, [lesson()])
    assert journal.last_sequence == 11
    journal.close()


@pytest.mark.parametrize("seed", range(40))
def test_after_any_flipped_bit_each_row_is_there_unchanged_or_named_as_lost(
    filled, ten_operations, seed
):
    before = ten_operations[1]
    content = bytearray(filled.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(content), 3):
        content[place] ^= 1 << rng.integers(0, 8)
    filled.write_bytes(content)
    journal = reopened(filled)
    kept = {row.sequence: row for row in journal.rows()}
    lost = {n for d in journal.damages() for n in range(d.first, d.last + 1)}
    assert kept.keys() | lost == before.keys()
    assert all(before[sequence] == row for sequence, row in kept.items())
    write(journal, [lesson()])
    assert journal.last_sequence == 11
    journal.close()


def test_a_watermark_that_is_damaged_is_ignored(filled):
    watermark.watermark_path(filled).write_bytes(b"x" * 20)
    journal = reopened(filled)
    assert journal.damages() == []
    journal.close()


def test_the_oldest_go_when_the_disk_is_used_up_and_counts_stay(filled):
    journal = Journal(filled, KEEP)
    for _ in range(400):
        write(journal, [lesson(20)])
    limit = journal.used_bytes() // 2
    while journal.retire(300, limit):
        pass
    assert next(iter(journal.rows())).sequence > 100
    assert journal.last_sequence == 410
    catalogue = Catalogue(filled)
    assert sum(count for _, _, count in catalogue.tally()) == 8020
    assert catalogue.facts()["retired_samples"] > 0
    catalogue.close()
    journal.close()
    again = reopened(filled)
    assert again.damages() == []
    assert (again.last_sequence, again.next_id) == (410, 8021)
    again.close()


def test_nothing_beyond_the_older_snapshot_is_retired(filled):
    journal = Journal(filled, KEEP)
    while journal.retire(4, 1):
        pass
    assert [row.sequence for row in journal.rows()] == [5, 6, 7, 8, 9, 10]
    journal.close()


def test_answers_are_bounded_in_number(path):
    journal = Journal(path, KEEP)
    for number in range(8):
        write(journal, [lesson()], key=f"k{number}")
    catalogue = Catalogue(path)
    assert [bool(catalogue.answer(f"k{n}", 0)) for n in range(8)] == [False] * 5 + [True] * 3
    catalogue.close()
    journal.close()


def test_answers_are_bounded_in_age(path, monkeypatch):
    journal = Journal(path, KEEP)
    write(journal, [lesson()], key="old")
    monkeypatch.setattr("time.time", lambda: 4e9)
    write(journal, [lesson()], key="new")
    catalogue = Catalogue(path)
    assert catalogue.answer("old", 0) is None
    assert catalogue.answer("new", 0) is not None
    catalogue.close()
    journal.close()


def test_a_refused_operation_is_not_listed(path):
    journal = Journal(path, KEEP)
    write(journal, [lesson(2)], key="k")
    journal.void(1, "the learner refused it")
    catalogue = Catalogue(path)
    assert catalogue.answer("k", 0) is None
    assert catalogue.sample(1) is None
    assert catalogue.tally() == []
    assert journal.voided() == {1: "the learner refused it"}
    catalogue.close()
    journal.close()
