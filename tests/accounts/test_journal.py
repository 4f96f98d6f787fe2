"""The journal: what was noted is there after any end of the process, once; and it never is in a call's way."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.accounts.journal import Journal, Source
from ai_gateway.accounts.journal_files import LockedDirectory
from ai_gateway.accounts.journal_format import HEADER, LineReader, ended_line, started_line
from ai_gateway.accounts.journal_replay import DeadJournal, claim_dead
from ai_gateway.accounts.records import AttemptRecord, Record
from ai_gateway.contract.tokens import Tokens
from tests.accounts.calls import NOW_MS, ended, started

ROOT = Path(__file__).parents[2]


def drained(source: Source, most: int = 7) -> list[Record]:
    """All that waits there."""
    records: list[Record] = []
    while (batch := source.read(most)) is not None:
        assert batch.records
        records += batch.records
        batch.done()
    return records


def calls(count: int, name: str = "call") -> list[Record]:
    return [ended(started(f"{name}-{number}")) for number in range(count)]


def note(journal: Journal, records: list[Record]) -> None:
    for record in records:
        journal.started(record.start)
        journal.ended(record)


def problem(journal: Journal) -> str | None:
    """Why it is not written now, which changes behind the type checker's back."""
    return journal.problem


def refuses(journal: Journal) -> bool:
    """As above."""
    return journal.refuses


# -- lines --


counts = st.integers(0, 2**60)
texts = st.text(max_size=20)
tokens = st.builds(Tokens, *[counts] * len(Tokens._fields))
attempts = st.builds(
    AttemptRecord,
    provider=texts,
    model=texts,
    started_at=counts,
    ended_at=counts,
    status=st.none() | st.integers(100, 599),
    code=st.none() | texts,
    tokens=st.none() | tokens,
    cost=st.none() | counts,
)


@pytest.mark.slow
@settings(deadline=None)
@given(
    texts, st.tuples(counts, tokens), st.lists(attempts, max_size=3), st.none() | counts, st.lists(texts, max_size=3)
)
def test_what_is_read_is_what_was_written(
    text: str, both: tuple[int, Tokens], tried: list[AttemptRecord], cost: int | None, names: list[str]
) -> None:
    bound, used = both
    start = started(text, model=text, bound=cost, bound_input=bound, key_id=text or None)
    record = ended(start, tokens=used, attempts=tuple(tried), cost=cost, code=text, dropped=tuple(names))
    line = started_line(start)
    assert LineReader().start(line) == start
    assert LineReader().record(ended_line(line, record)) == record
    assert line.count(b"\n") == ended_line(line, record).count(b"\n") == 1


def test_a_line_of_another_version_is_read_by_its_names() -> None:
    record = ended(started())
    line = ended_line(started_line(record.start), record)
    later = (
        HEADER.replace(b'"holds"', b'"promised"')
        .replace(b'"price"', b'"tariff"')
        .replace(b"tokens.input_image", b"tokens.smell")
    )
    with pytest.raises(ValueError, match="not the record"):  # `price` has no default, so an old line cannot be without
        LineReader(later).record(line)
    assert LineReader(HEADER.replace(b'"holds"', b'"promised"')).record(line) == record


@pytest.mark.parametrize("line", [b"", b"E", b"E[", b"E[]", b"E[[],[]]", b"E{}", b"E7", b"Enull", b"\x00" * 40])
def test_a_damaged_line_is_told_as_one(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        LineReader().record(line)
    with pytest.raises(ValueError, match=r".*"):
        LineReader().start(line)


def test_what_no_json_can_hold_is_noted_as_near_as_can_be() -> None:
    start = started("call-\ud800", bound=2**70)
    read = LineReader().start(started_line(start))
    assert (read.id, read.bound) == ("call-?", 2**63 - 1)


# -- a worker that lives --


def test_records_wait_in_order_until_they_are_done(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open()
    records = calls(10)
    note(journal, records)
    first, again = journal.read(4), journal.read(4)
    assert first is not None
    assert again is not None
    assert first.records == again.records == records[:4]
    first.done()
    assert drained(journal) == records[4:]
    assert journal.read(4) is None
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_files_are_left_when_everything_in_them_is_shipped(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_size=2_000)
    journal.open()
    open_call = started("long")
    journal.started(open_call)
    records = calls(100)
    note(journal, records)
    assert len(list(tmp_path.rglob("*.journal"))) > 10
    assert drained(journal) == records
    (left,) = tmp_path.rglob("*.journal")
    assert b'"long"' in left.read_bytes()  # the call that is still open was taken along
    assert journal.size < 5_000
    journal.close()
    (dead,) = claim_dead(tmp_path)
    (lost,) = (each for each in drained(dead) if each not in records)  # those before it are shipped once more
    assert (lost.start, lost.end) == (open_call, "lost")


def test_more_than_memory_holds_is_read_from_the_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_size=100_000)
    journal.open()
    records = calls(6_000)
    note(journal, records[:5_000])
    shipped: list[Record] = []
    for _ in range(10):
        batch = journal.read(100)
        assert batch is not None
        shipped += batch.records
        batch.done()
    note(journal, records[5_000:])
    assert shipped + drained(journal, 100) == records
    note(journal, records[:3])  # from memory again
    assert drained(journal) == records[:3]
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_is_done_after_memory_was_full_is_not_shipped_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open()
    records = calls(5_000)
    note(journal, records[:50])
    batch = journal.read(20)
    assert batch is not None
    note(journal, records[50:])
    batch.done()
    assert [*batch.records, *drained(journal, 500)] == records
    journal.close()


def test_without_a_directory_records_wait_in_memory() -> None:
    journal = Journal(None)
    journal.open()
    records = calls(20)
    note(journal, records)
    journal.tend()
    assert drained(journal) == records
    assert problem(journal) is None
    journal.close()


# -- where it cannot be written --


def test_a_full_disk_is_in_nobodys_way_and_is_written_again_when_there_is_room(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open()
    records = calls(30)
    note(journal, records[:10])
    # What the kernel does at the bound of a file's size is what it does on a full disk: a part, then an error.
    former, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size + 100, former[1]))
    try:
        note(journal, records[10:20])
        assert problem(journal) is not None
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, former[1]))
        journal.tend()
        assert os.strerror(errno.EFBIG) in str(problem(journal)) or "space" in str(problem(journal))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, ignored)
    journal.tend()
    assert problem(journal) is None
    note(journal, records[20:])
    assert sorted(drained(journal), key=records.index) == records
    assert journal.dropped == 0
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_removed_directory_is_made_again(tmp_path: Path) -> None:
    root = tmp_path / "journals"
    journal = Journal(root)
    journal.open()
    records = calls(9)
    note(journal, records[:3])
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    root.rmdir()
    note(journal, records[3:6])
    journal.tend()
    assert problem(journal) is None
    note(journal, records[6:])
    assert list(root.rglob("*.journal"))
    assert drained(journal) == records
    journal.close()


def test_a_place_that_cannot_be_written_drops_only_what_memory_does_not_hold(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    journal = Journal(tmp_path / "file")
    journal.open()
    records = calls(4_100)
    note(journal, records)
    assert problem(journal) is not None
    assert journal.dropped == 4
    assert drained(journal, 1_000) == records[:4_096]
    journal.close()


def test_the_files_have_a_bound_and_go_on_when_there_is_room(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_size=40_000, segment_size=8_000)
    journal.open()
    records = calls(200)
    note(journal, records[:150])
    assert journal.is_full
    assert "bound" in str(problem(journal))
    assert journal.size < 60_000
    found = drained(journal)
    journal.tend()
    assert problem(journal) is None
    note(journal, records[150:])
    found += drained(journal)
    assert sorted(found, key=records.index) == records
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_journal_may_refuse_what_it_could_not_keep(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_size=40_000, segment_size=8_000, when_full="refuse")
    journal.open()
    assert not journal.refuses
    note(journal, calls(150))
    assert refuses(journal)
    drained(journal)
    journal.tend()
    assert not refuses(journal)
    journal.close()


# -- workers that are dead --


def test_a_living_worker_keeps_its_journal_and_a_dead_one_is_claimed_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open()
    note(journal, calls(1))
    assert claim_dead(tmp_path) == []
    journal.close()
    claimed = claim_dead(tmp_path)
    assert len(claimed) == 1
    assert claim_dead(tmp_path) == []
    claimed[0].close()
    (again,) = claim_dead(tmp_path)
    assert drained(again) == calls(1)
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_half_a_line_and_rubbish_are_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.open()
    records = calls(4)
    note(journal, records)
    journal.close()
    (path,) = tmp_path.rglob("*.journal")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2:2] = [b"E[[1]]\n", b"\x00\x00\n", b"nonsense\n"]
    path.write_bytes(b"".join(lines)[:-9])
    (dead,) = claim_dead(tmp_path)
    found = drained(dead)
    assert found[:3] == records[:3]
    assert [(each.start, each.end) for each in found[3:]] == [(records[3].start, "lost")]


def test_a_lost_call_is_charged_by_its_bound(tmp_path: Path) -> None:
    directory = LockedDirectory.make(tmp_path)
    journal = Journal(tmp_path)
    journal.open()
    start = started("gone", bound=77, bound_input=5, bound_output=9)
    journal.started(start)
    journal.close()
    directory.close(remove=True)
    (dead,) = claim_dead(tmp_path)
    batch = dead.read(10)
    assert batch is not None
    assert batch.lost
    (record,) = batch.records
    assert (record.end, record.basis, record.cost) == ("lost", "incomplete", 77)
    assert record.tokens == Tokens(input=5, output=9)
    assert record.ended_at >= NOW_MS
    assert record._replace(ended_at=0) == drained(dead)[0]._replace(ended_at=0)  # until it is done


@pytest.mark.slow
def test_whatever_was_noted_before_a_kill_is_found_once(tmp_path: Path) -> None:
    rounds = 20
    command = [sys.executable, "-m", "tests.accounts.journal_program", str(tmp_path), str(rounds)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    for round_ in range(rounds):
        judge_killed(tmp_path / f"{round_}", (tmp_path / f"{round_}.said").read_text().splitlines())


def judge_killed(root: Path, said: list[str]) -> None:
    """What a worker said that it had noted, before it was killed, has to be there; one line more may be."""
    noted = [line[2:] for line in said if line.startswith("S ")]
    over = [line[2:] for line in said if line.startswith("E ")]
    (dead,) = claim_dead(root)
    found = drained(dead, 200)
    ends = {record.start.id: record.end for record in found}
    assert len(ends) == len(found)
    assert set(noted) <= set(ends)
    assert len(ends) <= len(noted) + 1
    assert all(ends[each] == "whole" for each in over)
    assert sum(end == "whole" for end in ends.values()) <= len(over) + 1
    dead.remove()
    assert list(root.iterdir()) == []


def test_dead_journals_are_read_without_their_lock_file_being_trusted(tmp_path: Path) -> None:
    (tmp_path / "stray").mkdir()
    (tmp_path / "file").write_text("no journal")
    assert claim_dead(tmp_path) == []
    assert claim_dead(tmp_path / "missing") == []
    assert DeadJournal(LockedDirectory.make(tmp_path)).read(1) is None


def test_the_last_journal_of_a_process_is_known_as_such(tmp_path: Path) -> None:
    """What it holds that no journal tells of is settled only then."""
    for number in range(2):
        with_calls = Journal(tmp_path, owner="one")
        with_calls.open()
        with_calls.started(started(f"call-{number}"))
        with_calls.close()
    first, second = claim_dead(tmp_path)
    assert (first.last_of, second.last_of) == (None, None)
    first.remove()
    assert (first.last_of, second.last_of) == (None, "one")
    second.remove()
    assert list(tmp_path.iterdir()) == []
