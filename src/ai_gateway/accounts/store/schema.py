"""The schema, as migration steps. A released step is never changed: changes are new steps.

Code of one version runs on the next version's schema: steps only add, and only remove what was unused for a version.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from functools import cache


class OnPostgres(str):
    """A statement that only PostgreSQL runs: SQLite has no partitions."""

    __slots__ = ()


class OnSqlite(str):
    """A statement that only SQLite runs: PostgreSQL has other ways for row ids and text search."""

    __slots__ = ()


STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
        "INSERT INTO meta (name, value) VALUES ('revision', 0)",
        # Entities of administration. `body` is NULL for a deleted one, so that cached copies are updated.
        """CREATE TABLE entities (
            kind TEXT NOT NULL, id TEXT NOT NULL, revision BIGINT NOT NULL, body TEXT, PRIMARY KEY (kind, id)
        )""",
        "CREATE INDEX entities_by_revision ON entities (revision)",
        """CREATE TABLE audit (
            id TEXT PRIMARY KEY, at BIGINT NOT NULL, type TEXT NOT NULL, project_id TEXT, actor TEXT NOT NULL,
            body TEXT NOT NULL
        )""",
        "CREATE INDEX audit_by_time ON audit (at, id)",
        # Records of calls. The id begins with the second of the start, so that no index of its own is needed.
        """CREATE TABLE records (
            at BIGINT NOT NULL, id TEXT NOT NULL, request_id TEXT NOT NULL,
            ended_at BIGINT NOT NULL, first_byte_ms BIGINT, project_id TEXT NOT NULL, key_id TEXT, wire TEXT NOT NULL,
            operation TEXT NOT NULL, model TEXT NOT NULL, stream BIGINT NOT NULL, provider TEXT NOT NULL,
            upstream_model TEXT NOT NULL, service_tier TEXT, ending TEXT NOT NULL, basis TEXT NOT NULL,
            status BIGINT, code TEXT,
            input BIGINT NOT NULL, output BIGINT NOT NULL, cache_read BIGINT NOT NULL, cache_write BIGINT NOT NULL,
            cache_write_1h BIGINT NOT NULL, input_audio BIGINT NOT NULL, input_image BIGINT NOT NULL,
            reasoning BIGINT NOT NULL, output_audio BIGINT NOT NULL, output_image BIGINT NOT NULL,
            cost BIGINT, price TEXT, details TEXT, PRIMARY KEY (at, id)
        )""",
        # In PostgreSQL each day is a partition, so that old ones are dropped and not deleted row by row. A table cannot
        # become a partitioned one. What has no partition, such as a call that began by a clock of next year, is in the
        # default one.
        OnPostgres("ALTER TABLE records RENAME TO records_in_one"),
        OnPostgres("CREATE TABLE records (LIKE records_in_one, PRIMARY KEY (at, id)) PARTITION BY RANGE (at)"),
        OnPostgres("DROP TABLE records_in_one"),
        OnPostgres("CREATE TABLE records_of_other_days PARTITION OF records DEFAULT"),
        "CREATE INDEX records_by_request ON records (request_id)",
        "CREATE INDEX records_by_project ON records (project_id, at)",
        "CREATE INDEX records_by_key ON records (key_id, at)",
        # Partial indexes, which only a few calls are in.
        "CREATE INDEX records_by_ending ON records (ending, at) WHERE ending <> 'whole'",
        "CREATE INDEX records_by_status ON records (status, at) WHERE status <> 200",
        # Called in exclusive transactions. Attaching a partition scans the default one and moves that day's rows: if it
        # is very large, days stay without partitions. It waits for readers, such as a backup, but not for long. Returns
        # whether the partition exists.
        OnPostgres("""CREATE FUNCTION add_day_of_records(day BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql
            SET lock_timeout = '1s' AS $$
            DECLARE
                partition TEXT := 'records_' || to_char(to_timestamp(day / 1000) AT TIME ZONE 'UTC', 'YYYYMMDD');
                next_day BIGINT := day + 86400000;
            BEGIN
                IF to_regclass(partition) IS NOT NULL THEN
                    RETURN TRUE;
                END IF;
                IF day < (SELECT value FROM meta WHERE name = 'pruned_before')
                    OR EXISTS (SELECT FROM records_of_other_days OFFSET 20000) THEN
                    RETURN FALSE;
                END IF;
                EXECUTE format('CREATE TABLE %I (LIKE records)', partition);
                EXECUTE format('WITH moved AS (DELETE FROM records_of_other_days WHERE at >= %s AND at < %s RETURNING *)
                    INSERT INTO %I SELECT * FROM moved', day, next_day, partition);
                EXECUTE format('ALTER TABLE records ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                    partition, day, next_day);
                RETURN TRUE;
            EXCEPTION WHEN lock_not_available THEN
                RETURN FALSE;
            END $$"""),
        # Drops the oldest partition if its day ends by then. Returns that day, NULL if there is none.
        OnPostgres("""CREATE FUNCTION drop_day_of_records(before BIGINT) RETURNS BIGINT LANGUAGE plpgsql
            SET lock_timeout = '1s' AS $$
            DECLARE
                partition TEXT;
                day BIGINT;
            BEGIN
                SELECT relname INTO partition FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                    WHERE inhparent = 'records'::regclass AND relname ~ '^records_[0-9]{8}$' ORDER BY relname LIMIT 1;
                day := extract(epoch FROM to_date(right(partition, 8), 'YYYYMMDD')) * 1000;
                IF day IS NULL OR day + 86400000 > before THEN
                    RETURN NULL;
                END IF;
                EXECUTE format('DROP TABLE %I', partition);
                RETURN day;
            END $$"""),
        # Sums by hour and by day, which outlive the records. Empty strings mean no key, or no tier.
        """CREATE TABLE rollups (
            width BIGINT NOT NULL, start BIGINT NOT NULL,
            project_id TEXT NOT NULL, key_id TEXT NOT NULL, model TEXT NOT NULL, upstream_model TEXT NOT NULL,
            provider TEXT NOT NULL, operation TEXT NOT NULL, service_tier TEXT NOT NULL,
            requests BIGINT NOT NULL, errors BIGINT NOT NULL, lost BIGINT NOT NULL, estimated BIGINT NOT NULL,
            unpriced BIGINT NOT NULL, input BIGINT NOT NULL, output BIGINT NOT NULL, cache_read BIGINT NOT NULL,
            cache_write BIGINT NOT NULL, cache_write_1h BIGINT NOT NULL, input_audio BIGINT NOT NULL,
            input_image BIGINT NOT NULL, reasoning BIGINT NOT NULL, output_audio BIGINT NOT NULL,
            output_image BIGINT NOT NULL, cost BIGINT NOT NULL,
            PRIMARY KEY (width, start, project_id, key_id, model, upstream_model, provider, operation, service_tier)
        )""",
        "CREATE TABLE key_uses (key_id TEXT PRIMARY KEY, at BIGINT NOT NULL)",
        "INSERT INTO meta (name, value) VALUES ('pruned_before', 0)",
        # Notices of spend alerts, one for each alert, window and threshold. `due` is when to send it, and NULL when
        # done.
        """CREATE TABLE notices (
            id TEXT PRIMARY KEY, alert_id TEXT NOT NULL, at BIGINT NOT NULL, attempts BIGINT NOT NULL, due BIGINT,
            outcome TEXT, body TEXT NOT NULL
        )""",
        "CREATE INDEX notices_by_due ON notices (due)",
    ),
    (
        # Latencies of calls, in classes of durations: see `latency`. Both are NULL if unknown.
        "ALTER TABLE records ADD COLUMN total_bucket SMALLINT",
        "ALTER TABLE records ADD COLUMN first_bucket SMALLINT",
        """CREATE TABLE latencies (
            width BIGINT NOT NULL, start BIGINT NOT NULL,
            project_id TEXT NOT NULL, key_id TEXT NOT NULL, model TEXT NOT NULL, upstream_model TEXT NOT NULL,
            provider TEXT NOT NULL, operation TEXT NOT NULL, service_tier TEXT NOT NULL,
            total_0 INTEGER NOT NULL DEFAULT 0, total_1 INTEGER NOT NULL DEFAULT 0, total_2 INTEGER NOT NULL DEFAULT 0,
            total_3 INTEGER NOT NULL DEFAULT 0, total_4 INTEGER NOT NULL DEFAULT 0, total_5 INTEGER NOT NULL DEFAULT 0,
            total_6 INTEGER NOT NULL DEFAULT 0, total_7 INTEGER NOT NULL DEFAULT 0, total_8 INTEGER NOT NULL DEFAULT 0,
            total_9 INTEGER NOT NULL DEFAULT 0, total_10 INTEGER NOT NULL DEFAULT 0,
            total_11 INTEGER NOT NULL DEFAULT 0, total_12 INTEGER NOT NULL DEFAULT 0,
            total_13 INTEGER NOT NULL DEFAULT 0, total_14 INTEGER NOT NULL DEFAULT 0,
            total_15 INTEGER NOT NULL DEFAULT 0, total_16 INTEGER NOT NULL DEFAULT 0,
            total_17 INTEGER NOT NULL DEFAULT 0, total_18 INTEGER NOT NULL DEFAULT 0,
            total_19 INTEGER NOT NULL DEFAULT 0, total_20 INTEGER NOT NULL DEFAULT 0,
            total_21 INTEGER NOT NULL DEFAULT 0, total_22 INTEGER NOT NULL DEFAULT 0,
            total_23 INTEGER NOT NULL DEFAULT 0, first_0 INTEGER NOT NULL DEFAULT 0, first_1 INTEGER NOT NULL DEFAULT 0,
            first_2 INTEGER NOT NULL DEFAULT 0, first_3 INTEGER NOT NULL DEFAULT 0, first_4 INTEGER NOT NULL DEFAULT 0,
            first_5 INTEGER NOT NULL DEFAULT 0, first_6 INTEGER NOT NULL DEFAULT 0, first_7 INTEGER NOT NULL DEFAULT 0,
            first_8 INTEGER NOT NULL DEFAULT 0, first_9 INTEGER NOT NULL DEFAULT 0, first_10 INTEGER NOT NULL DEFAULT 0,
            first_11 INTEGER NOT NULL DEFAULT 0, first_12 INTEGER NOT NULL DEFAULT 0,
            first_13 INTEGER NOT NULL DEFAULT 0, first_14 INTEGER NOT NULL DEFAULT 0,
            first_15 INTEGER NOT NULL DEFAULT 0, first_16 INTEGER NOT NULL DEFAULT 0,
            first_17 INTEGER NOT NULL DEFAULT 0, first_18 INTEGER NOT NULL DEFAULT 0,
            first_19 INTEGER NOT NULL DEFAULT 0, first_20 INTEGER NOT NULL DEFAULT 0,
            first_21 INTEGER NOT NULL DEFAULT 0, first_22 INTEGER NOT NULL DEFAULT 0,
            first_23 INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (width, start, project_id, key_id, model, upstream_model, provider, operation, service_tier)
        )""",
        # Searches of upstreams, the number of requests with searches, and their part of the cost.
        "ALTER TABLE records ADD COLUMN searches BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE records ADD COLUMN search_cost BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE rollups ADD COLUMN searches BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE rollups ADD COLUMN searching BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE rollups ADD COLUMN search_cost BIGINT NOT NULL DEFAULT 0",
    ),
    (
        # Stored responses. `until` is the time of deletion, `lease` the expiry of a running one's lease; both in
        # seconds.
        """CREATE TABLE responses (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, at BIGINT NOT NULL, until BIGINT NOT NULL, previous TEXT,
            status TEXT NOT NULL, lease BIGINT, size BIGINT NOT NULL, input TEXT NOT NULL, body TEXT NOT NULL
        )""",
        "CREATE INDEX responses_by_time ON responses (at, id)",
        "CREATE INDEX responses_by_end ON responses (until)",
    ),
    (
        # Memories of a key and its end user, each empty for none. Times are milliseconds, `size` is bytes of `content`,
        # and `folded` is the case-folded text for searching.
        OnSqlite("""CREATE TABLE memories (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL, project_id TEXT NOT NULL, key_id TEXT NOT NULL,
            user_id TEXT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, size BIGINT NOT NULL,
            content TEXT NOT NULL, folded TEXT NOT NULL
        )"""),
        OnPostgres("""CREATE TABLE memories (
            number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT NOT NULL, project_id TEXT NOT NULL,
            key_id TEXT NOT NULL, user_id TEXT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
            size BIGINT NOT NULL, content TEXT NOT NULL, folded TEXT NOT NULL
        )"""),
        "CREATE UNIQUE INDEX memories_by_id ON memories (id)",
        "CREATE INDEX memories_by_key ON memories (key_id, project_id, user_id)",
        "CREATE INDEX memories_by_project ON memories (project_id)",
        "CREATE INDEX memories_by_user ON memories (user_id)",
        # A trigram index for every script; PostgreSQL scans the memories of one key instead.
        OnSqlite("""CREATE VIRTUAL TABLE memories_index USING fts5(
            folded, content='memories', content_rowid='number', tokenize="trigram case_sensitive 1"
        )"""),
        OnSqlite("""CREATE TRIGGER memories_added AFTER INSERT ON memories BEGIN
            INSERT INTO memories_index (rowid, folded) VALUES (new.number, new.folded);
        END"""),
        OnSqlite("""CREATE TRIGGER memories_deleted AFTER DELETE ON memories BEGIN
            INSERT INTO memories_index (memories_index, rowid, folded) VALUES ('delete', old.number, old.folded);
        END"""),
        OnSqlite("""CREATE TRIGGER memories_changed AFTER UPDATE OF folded ON memories BEGIN
            INSERT INTO memories_index (memories_index, rowid, folded) VALUES ('delete', old.number, old.folded);
            INSERT INTO memories_index (rowid, folded) VALUES (new.number, new.folded);
        END"""),
    ),
    (
        # Events of background responses, from number `first` to the one before `next`, compressed and in Base64. In the
        # `final` row, the last event ends the response.
        """CREATE TABLE response_events (
            response TEXT NOT NULL REFERENCES responses (id) ON DELETE CASCADE, first BIGINT NOT NULL,
            next BIGINT NOT NULL, final BIGINT NOT NULL, events TEXT NOT NULL, PRIMARY KEY (response, first)
        )""",
    ),
    (
        # What each owner keeps, and the oldest of it, without a look at the rows, which have whole responses in them.
        "CREATE INDEX responses_by_owner ON responses (owner, at, id, size)",
    ),
)
"""The statements from each version to the next; the first from an empty database to version 1."""

VERSION = len(STEPS)


COLUMNS = """SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
    WHERE m.type = 'table' AND m.name NOT LIKE 'memories_index%'"""
"""All columns of an SQLite database, with their tables, without those of the text index."""


def in_postgres(step: Iterable[str]) -> Iterator[str]:
    """The statements of a step that PostgreSQL runs."""
    return (statement for statement in step if not isinstance(statement, OnSqlite))


def in_sqlite(step: Iterable[str]) -> Iterator[str]:
    """The statements of a step that SQLite runs."""
    return (statement for statement in step if not isinstance(statement, OnPostgres))


@cache
def columns() -> frozenset[tuple[str, str]]:
    """Every column that the steps create, with its table."""
    db = sqlite3.connect(":memory:")
    try:
        for step in STEPS:
            for statement in in_sqlite(step):
                db.execute(statement)
        return frozenset(db.execute(COLUMNS))
    finally:
        db.close()


def schema_problem(version: int, found: Collection[tuple[str, str]]) -> str | None:
    """Why this code cannot use a schema of that version, with these tables and columns; None if it can."""
    if version < VERSION:
        return f"its schema is version {version}, this gateway needs {VERSION}: run `ai-gateway store migrate`"
    if version > VERSION + 1:
        return (
            f"its schema is version {version}, this gateway knows {VERSION} and the one after it: use a newer gateway"
        )
    missing = sorted(columns() - set(found))
    if missing:
        names = ", ".join(f"{table}.{column}" for table, column in missing)
        return f"its schema lacks {names}: it was changed from outside"
    return None
