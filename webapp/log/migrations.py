"""Numbered steps that bring any older log to today's tables, without losing a row.

Step n turns version n - 1 into version n. Never change a step that was released: add the next one. The SQL is
plain, so that SQLite and PostgreSQL both understand it; that is also why there is no Alembic here, which would
be a dependency and a folder of files for what is a list and a loop.
"""

import sqlalchemy as sa

STEPS: list[list[str]] = [
    [  # 1
        """CREATE TABLE predictions (
            id VARCHAR(36) PRIMARY KEY,
            created_at TIMESTAMP NOT NULL,
            source TEXT NOT NULL,
            text TEXT,
            text_hash TEXT,
            label TEXT NOT NULL,
            spam_probability DOUBLE PRECISION NOT NULL,
            threshold DOUBLE PRECISION NOT NULL,
            model_version TEXT NOT NULL,
            explanation TEXT,
            latency_ms DOUBLE PRECISION NOT NULL,
            request_id TEXT,
            sender_report TEXT
        )""",
        """CREATE TABLE failures (
            id VARCHAR(36) PRIMARY KEY,
            created_at TIMESTAMP NOT NULL,
            source TEXT NOT NULL,
            status INTEGER NOT NULL,
            what TEXT NOT NULL,
            request_id TEXT
        )""",
    ],
]


def migrate(engine: sa.Engine, steps: list[list[str]] = STEPS) -> int:
    """Run the steps that this log has not had yet, each in one transaction; return the version it has now.

    Processes that start at the same moment wait for one another (BEGIN IMMEDIATE), so that each step runs once.
    """
    with engine.connect() as connection:
        if sa.inspect(connection).has_table("schema_version") and _version(connection) == len(steps):
            return len(steps)  # nothing to do, so no need to wait for somebody's lock
    with engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"))
        version = _version(connection)
        if version is None:
            connection.execute(sa.text("INSERT INTO schema_version VALUES (0)"))
            version = 0
        if version > len(steps):
            raise RuntimeError(
                f"The log has version {version}, this Hamlet knows versions up to {len(steps)}: "
                "use the newer Hamlet that wrote it."
            )
        for number, step in enumerate(steps[version:], start=version + 1):
            for statement in step:
                connection.execute(sa.text(statement))
            connection.execute(sa.text("UPDATE schema_version SET version = :number"), {"number": number})
    return len(steps)


def _version(connection: sa.Connection) -> int | None:
    version: int | None = connection.execute(sa.text("SELECT version FROM schema_version")).scalar()
    return version
