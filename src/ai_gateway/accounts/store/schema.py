"""The tables, as the steps that make them. A step is never changed once it was released: what comes next is a new one.

Code of one version runs on the schema of the next: a step adds, and what it takes away nothing has used for a version.
"""

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
        "INSERT INTO meta (name, value) VALUES ('revision', 0)",
        # What administrators make. `body` is NULL once it is deleted, so that others who keep a copy learn of it.
        """CREATE TABLE entities (
            kind TEXT NOT NULL, id TEXT NOT NULL, revision BIGINT NOT NULL, body TEXT, PRIMARY KEY (kind, id)
        )""",
        "CREATE INDEX entities_by_revision ON entities (revision)",
        """CREATE TABLE audit (
            id TEXT PRIMARY KEY, at BIGINT NOT NULL, type TEXT NOT NULL, project_id TEXT, actor TEXT NOT NULL,
            body TEXT NOT NULL
        )""",
        "CREATE INDEX audit_by_time ON audit (at, id)",
    ),
)
"""The statements that lead from each version to the next one; the first from nothing to version 1."""

VERSION = len(STEPS)
