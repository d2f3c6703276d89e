import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from vitruvius.study.journal import Grown, Journal, JournalError
from vitruvius.study.sqlite_file import PAGE, logs

SPAWN = multiprocessing.get_context("spawn")
FORK = multiprocessing.get_context("fork")


def written(path: Path, count: int = 40, size: int = 120) -> list[tuple]:
    """A closed journal of ``count`` events, the first one larger than a page."""
    rng = random.Random(count)
    with Journal(path) as journal:
        journal.append("study", 0, {"space": "x" * 9000, "metric": "accuracy"})
        for number in range(count - 1):
            noise = "".join(rng.choices("abcdefgh äöü", k=rng.randint(1, size)))
            journal.append("told", number, {"score": rng.random(), "cause": noise})
        return contents(journal.read())


def contents(events) -> list[tuple]:
    return [(e.sequence, e.kind, e.trial, dict(e.body)) for e in events]


def read(path: Path) -> list[tuple]:
    with Journal(path, create=False) as journal:
        return contents(journal.read())


def test_what_is_appended_is_what_is_read(tmp_path):
    ticks = iter(range(100, 200))
    with Journal(tmp_path / "journal.sqlite", clock=lambda: next(ticks)) as journal:
        first = journal.append("asked", 3, {"point": {"b": 1, "a": (2.5, None, "ü")}}, after=0)
        second = journal.append("told", 3, {"score": 0.1 + 0.2})
        assert first.body == {"point": {"b": 1, "a": [2.5, None, "ü"]}, "at": 100}
        assert list(first.body["point"]) == ["b", "a"]  # the order of decisions stays
        assert (second.sequence, second.kind, second.trial) == (2, "told", 3)
        assert journal.read() == [first, second]
        assert journal.read(since=1) == [second]
        assert journal.read(since=2) == []
        assert journal.last == 2
    with Journal(tmp_path / "journal.sqlite", read_only=True) as again:
        assert again.read() == [first, second]


def test_append_refuses_when_the_journal_grew(tmp_path):
    path = tmp_path / "journal.sqlite"
    with Journal(path) as mine, Journal(path) as other:
        mine.append("asked", 0, {}, after=0)
        with pytest.raises(Grown, match="from event 0 to event 1") as caught:
            other.append("asked", 0, {}, after=0)
        assert (caught.value.after, caught.value.last) == (0, 1)
        assert other.append("asked", 1, {}, after=1).sequence == 2
        assert [e.sequence for e in mine.read(since=1)] == [2]


def test_a_body_that_is_no_json_is_refused(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as journal:
        with pytest.raises(ValueError, match="'told' must be JSON without NaN"):
            journal.append("told", 0, {"score": float("nan")})
        with pytest.raises(ValueError, match="must be JSON"):
            journal.append("told", 0, {"score": {1, 2}})
        assert journal.read() == []


def append_many(path: str, worker: int, count: int) -> None:
    with Journal(path) as journal:
        for number in range(count):
            journal.append("told", number, {"worker": worker})


def test_four_processes_append_without_loss(tmp_path):
    path = tmp_path / "journal.sqlite"
    workers = [SPAWN.Process(target=append_many, args=(str(path), w, 50)) for w in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    events = Journal(path, read_only=True).read()
    assert [e.sequence for e in events] == list(range(1, 201))
    seen = sorted((e.body["worker"], e.trial) for e in events)
    assert seen == [(worker, number) for worker in range(4) for number in range(50)]


def test_threads_share_a_journal(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as journal:
        threads = [
            threading.Thread(target=lambda: [journal.append("x", 0, {}) for _ in range(25)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [e.sequence for e in journal.read()] == list(range(1, 101))


def append_and_say(path: str, pipe: int) -> None:
    with Journal(path) as journal:
        while True:
            event = journal.append("told", 0, {"noise": "x" * 500})
            os.write(pipe, b"%d\n" % event.sequence)


def test_kill_at_random_moments_loses_nothing_that_was_committed(tmp_path):
    path, rng, last = tmp_path / "journal.sqlite", random.Random(0), 0
    for _ in range(12):
        come, go = os.pipe()
        child = FORK.Process(target=append_and_say, args=(str(path), go))
        child.start()
        os.close(go)
        with os.fdopen(come) as said:
            for _ in range(rng.randint(1, 5)):
                last = int(said.readline())
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            last = max([last, *(int(line) for line in said if line.endswith("\n"))])
        events = read(path)
        assert [e[0] for e in events] == list(range(1, len(events) + 1))
        assert len(events) in (last, last + 1)  # killed between the commit and saying so
        last = len(events)


def test_no_flipped_bit_is_read_wrongly(tmp_path):
    path, copy = tmp_path / "journal.sqlite", tmp_path / "copy.sqlite"
    right = written(path)
    intact = path.read_bytes()
    rng = random.Random(1)
    offsets = [*range(0, 112), *(rng.randrange(len(intact)) for _ in range(250))]
    refused = 0
    for offset in offsets:
        damaged = bytearray(intact)
        damaged[offset] ^= 1 << rng.randrange(8)
        copy.write_bytes(damaged)
        try:
            assert read(copy) == right, offset
        except JournalError as error:
            refused += 1
            assert "\n" not in str(error) and str(copy) in str(error)
        for left in logs(copy):
            left.unlink(missing_ok=True)
    assert refused > 100


def test_a_flipped_bit_in_any_byte_of_the_schema_is_refused(tmp_path):
    path, copy = tmp_path / "journal.sqlite", tmp_path / "copy.sqlite"
    right = written(path)
    intact = path.read_bytes()
    begin, end = intact.index(b"CREATE TABLE events"), intact.index(b"AUTOINCREMENT")
    for offset in range(begin, end):
        damaged = bytearray(intact)
        damaged[offset] ^= 128  # no text any more, which SQLite quotes in its message
        copy.write_bytes(damaged)
        with pytest.raises(JournalError, match=r"is damaged: .*--repair"):
            read(copy)
        for left in logs(copy):
            left.unlink(missing_ok=True)
    assert Journal.repair(copy).kept == len(right) and read(copy) == right


def test_no_cut_is_read_wrongly_and_a_repair_keeps_what_is_intact(tmp_path):
    path, copy = tmp_path / "journal.sqlite", tmp_path / "copy.sqlite"
    right = written(path)
    intact = path.read_bytes()
    rng = random.Random(2)
    kept = []
    for length in [0, 1, 15, 16, 100, *range(PAGE, len(intact), PAGE), *rng.sample(
        range(len(intact)), 60
    )]:  # fmt: skip
        copy.write_bytes(intact[:length])
        with pytest.raises(JournalError, match=r"is damaged: .*(repair|backup)"):
            read(copy)
        with contextlib.suppress(JournalError):
            repaired = Journal.repair(copy)
            assert read(copy) == right[: repaired.kept]
            assert repaired.backup is not None and repaired.backup.read_bytes() == intact[:length]
            repaired.backup.unlink()
            kept.append(repaired.kept)
    assert max(kept) > 20 and len(set(kept)) > 1


def test_repair_of_a_flipped_bit_keeps_all_before_it(tmp_path):
    path = tmp_path / "journal.sqlite"
    right = written(path)
    content = path.read_bytes()
    at = content.index(json.dumps(right[24][3]["cause"], ensure_ascii=False).encode())
    path.write_bytes(content[: at + 1] + bytes([content[at + 1] ^ 1]) + content[at + 2 :])
    with pytest.raises(JournalError, match=r"event 25 .*checksum; events 1 to 24 are intact.*rep"):
        Journal(path)
    repaired = Journal.repair(path)
    assert (repaired.kept, repaired.backup) == (24, path.with_name("journal.sqlite.damaged-1"))
    with Journal(path) as journal:
        assert contents(journal.read()) == right[:24]
        assert journal.append("told", 24, {}).sequence == 25
    assert Journal.repair(path) == type(repaired)(25, None)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "journal.sqlite",
        "journal.sqlite.damaged-1",
    ]


def test_repair_finds_rows_whose_tree_is_gone(tmp_path):
    path = tmp_path / "journal.sqlite"
    right = written(path, 200)
    content = bytearray(path.read_bytes())
    content[PAGE : 2 * PAGE] = bytes(PAGE)  # the root of the table
    path.write_bytes(content)
    with pytest.raises(JournalError, match="is damaged"):
        Journal(path)
    assert Journal.repair(path).kept == 200
    assert read(path) == right


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events WHERE sequence = 7",
        "DELETE FROM events WHERE sequence > 30",
        "UPDATE events SET body = '{\"score\":1.0}' WHERE sequence = 9",
        "UPDATE events SET trial = '4' WHERE sequence = 9",
        "UPDATE events SET trial = 4.5 WHERE sequence = 9",
        "UPDATE events SET kind = 'lost' WHERE sequence = 40",
        "UPDATE events SET sequence = 41 WHERE sequence = 40",
        "UPDATE events SET checksum = upper(checksum) WHERE sequence = 9",
        "UPDATE events SET body = CAST(body AS BLOB) WHERE sequence = 9",
        "DROP TABLE events",
    ],
)
def test_an_edited_journal_is_refused_at_once_and_when_opened(tmp_path, statement):
    path = tmp_path / "journal.sqlite"
    written(path)
    with Journal(path) as opened:
        with contextlib.closing(sqlite3.connect(path)) as editor, editor:
            editor.execute(statement)
        with pytest.raises(JournalError, match="is damaged"):
            opened.read()
    with pytest.raises(JournalError, match=r"is damaged: .*\."):
        Journal(path)


def abandoned(folder: Path, count: int = 12) -> Path:
    """A journal as a kill leaves it while a reader keeps the log from being taken over."""
    live = folder / "live.sqlite"
    with Journal(live) as journal:
        journal.append("study", 0, {})
        with contextlib.closing(sqlite3.connect(live, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            for number in range(count - 1):
                journal.append("told", number, {"noise": "y" * 200})
            path = folder / "journal.sqlite"
            shutil.copy(live, path)
            shutil.copy(logs(live)[0], logs(path)[0])
    return path


def test_no_damage_to_the_log_is_read_wrongly(tmp_path):
    path = abandoned(tmp_path)
    log = logs(path)[0]
    main, intact = path.read_bytes(), log.read_bytes()
    assert len(read(path)) == 12
    rng, refused = random.Random(3), 0
    last_transaction = len(intact) - 2 * (PAGE + 24)
    for offset in [*range(32), *(rng.randrange(last_transaction) for _ in range(20))]:
        path.write_bytes(main)
        damaged = bytearray(intact)
        damaged[offset] ^= 1 << rng.randrange(8)
        log.write_bytes(damaged)
        try:
            assert [e[0] for e in read(path)] == list(range(1, 13)), offset
        except JournalError as error:
            refused += 1
            assert "\n" not in str(error)
            assert Journal.repair(path).kept == 12
            assert len(read(path)) == 12
    assert refused > 20


def test_a_log_cut_off_behind_what_the_file_holds_is_noticed(tmp_path):
    path = abandoned(tmp_path)
    log = logs(path)[0].read_bytes()
    whole = read(path)  # closing takes the log into the file
    logs(path)[0].write_bytes(log[: 32 + 10 * (PAGE + 24)])
    with pytest.raises(JournalError, match=r"events 1 to 12 are intact"):
        Journal(path)
    assert Journal.repair(path).kept == 12
    assert read(path) == whole


def test_a_kill_in_the_middle_of_a_write_is_no_damage(tmp_path):
    path = abandoned(tmp_path)
    log = logs(path)[0]
    whole = log.read_bytes()
    main = path.read_bytes()
    for cut in (1, 100, PAGE, PAGE + 23):
        path.write_bytes(main)
        log.write_bytes(whole[:-cut])
        assert len(read(path)) == 11


def test_readers_do_not_wait_for_a_writer(tmp_path):
    path = tmp_path / "journal.sqlite"
    written(path, 5)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with Journal(path, read_only=True) as journal:
            assert len(journal.read()) == 5
            with pytest.raises(JournalError, match="was opened read-only"):
                journal.append("told", 0, {})


def test_a_locked_journal_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("vitruvius.study.sqlite_file.PATIENCE_SECONDS", 0.01)
    path = tmp_path / "journal.sqlite"
    written(path, 5)
    with (
        Journal(path) as journal,
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="has been locked by another program"):
            journal.append("told", 0, {})
        other.execute("ROLLBACK")
        assert journal.append("told", 0, {}).sequence == 6


def in_child(check, *args) -> None:
    """Run a check in a forked process, where limits and rights may be given away."""
    child = FORK.Process(target=check, args=args)
    child.start()
    child.join(60)
    assert child.exitcode == 0


def fill_disk(path: Path) -> None:
    with Journal(path) as journal:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        with pytest.raises(JournalError, match="disk is full, over a limit, or failing"):
            while True:
                journal.append("told", 0, {"noise": "z" * 3000})
        before = journal.read()
        assert len(before) > 3
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert journal.append("told", 1, {}).sequence == len(before) + 1


def test_a_full_disk_is_one_clear_line_and_keeps_what_was_written(tmp_path):
    path = tmp_path / "journal.sqlite"
    in_child(fill_disk, path)
    assert read(path)[-1][2] == 1


def test_a_database_that_may_not_grow_is_one_clear_line(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert journal._engine is not None
        with journal._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 8")
        with pytest.raises(JournalError, match=r"the disk is full\. What was written stays"):
            while True:
                journal.append("told", 0, {"noise": "z" * 3000})
        assert len(journal.read()) > 1


def without_rights(path: Path, count: int) -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    with Journal(path, read_only=True) as journal:
        assert len(journal.read()) == count
    with pytest.raises(JournalError, match=r"cannot be (written|opened)|read-only"):
        Journal(path).append("told", 0, {})
    with pytest.raises(JournalError, match=r"cannot be created .*Choose a folder"):
        Journal(path.with_name("other.sqlite"))


def test_a_read_only_folder_can_be_read(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    path = folder / "journal.sqlite"
    written(path, 5)
    for part in (tmp_path, *tmp_path.parents):  # another user must come through
        if part.stat().st_uid == os.getuid() and part != Path("/"):
            with contextlib.suppress(PermissionError):
                part.chmod(part.stat().st_mode | stat.S_IXOTH)
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        in_child(without_rights, path, 5)
    finally:
        folder.chmod(0o755)
    assert sorted(p.name for p in folder.iterdir()) == ["journal.sqlite"]


def test_what_is_no_journal_is_said_so(tmp_path):
    with pytest.raises(JournalError, match="there is no journal"):
        Journal(tmp_path / "journal.sqlite", create=False)
    with pytest.raises(JournalError, match="there is no journal"):
        Journal(tmp_path / "journal.sqlite", read_only=True)
    with pytest.raises(JournalError, match="no such folder"):
        Journal(tmp_path / "nowhere" / "journal.sqlite")
    with pytest.raises(JournalError, match="postgresql:// URL; got one that starts with mysql"):
        Journal("mysql://localhost/x")
    (tmp_path / "notes.txt").write_text("not a journal at all, but long enough " * 20)
    with pytest.raises(JournalError, match="not a database; no event is intact"):
        Journal(tmp_path / "notes.txt")
    with pytest.raises(JournalError, match="nothing to repair"):
        Journal.repair(tmp_path / "notes.txt")
    other = tmp_path / "other.sqlite"
    with contextlib.closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY)")
    with pytest.raises(JournalError, match="is damaged: SQLite says no such column"):
        Journal(other)


POSTGRES = os.environ.get("VITRUVIUS_TEST_POSTGRES", "")


@pytest.fixture
def database():
    if not POSTGRES:
        pytest.skip("VITRUVIUS_TEST_POSTGRES is not set to the URL of an empty database")
    import psycopg

    with psycopg.connect(POSTGRES) as connection:
        connection.execute("DROP TABLE IF EXISTS events")
    yield POSTGRES
    with psycopg.connect(POSTGRES) as connection:
        connection.execute("DROP TABLE IF EXISTS events")


def test_postgresql_behaves_as_a_file_does(database):
    import psycopg

    with pytest.raises(JournalError, match="no journal in this database"):
        Journal(database, create=False)
    workers = [SPAWN.Process(target=append_many, args=(database, w, 50)) for w in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    with Journal(database, create=False) as journal, Journal(database) as other:
        events = journal.read()
        assert [e.sequence for e in events] == list(range(1, 201))
        seen = sorted((e.body["worker"], e.trial) for e in events)
        assert seen == [(worker, number) for worker in range(4) for number in range(50)]
        assert other.append("x", 0, {"a": "ü"}, after=200).body["a"] == "ü"
        with pytest.raises(Grown):
            journal.append("x", 0, {}, after=200)
        with psycopg.connect(database) as editor:
            editor.execute("UPDATE events SET trial = 77 WHERE sequence = 12")
        with pytest.raises(JournalError, match=r"event 12 .*Restore the database"):
            journal.read()
        with pytest.raises(JournalError, match=r"event 12 "):
            Journal(database)
    with pytest.raises(JournalError):
        Journal(database.rpartition("/")[0] + "/no_such_database")
