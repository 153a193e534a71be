"""Numbered steps that bring any older log to today's tables, without losing a row.

Step n turns version n - 1 into version n. Never change a step that was released: add the next one. The SQL is
plain, so that SQLite and PostgreSQL both understand it; that is also why there is no Alembic here, which would
be a dependency and a folder of files for what is a list and a loop.
"""

import sqlalchemy as sa

from webapp.errors import LogUnavailable

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
    [  # 2
        # What people said of predictions: one verdict a reviewer.
        """CREATE TABLE reviews (
            id VARCHAR(36) NOT NULL PRIMARY KEY,
            created_at TIMESTAMP NOT NULL,
            prediction_id VARCHAR(36) NOT NULL,
            reviewer TEXT NOT NULL,
            true_label TEXT NOT NULL,
            queue TEXT NOT NULL,
            overruled INTEGER NOT NULL,
            UNIQUE (prediction_id, reviewer)
        )""",
        "CREATE INDEX reviews_reviewer ON reviews (reviewer, id)",
        # Kept up with the reviews, as finding them anew among a million reviews takes a second (reviews.py).
        "CREATE TABLE disagreements (prediction_id VARCHAR(36) NOT NULL PRIMARY KEY)",
        # Random samples of the log, fixed once drawn, and who is looking at which message just now.
        """CREATE TABLE samples (
            id VARCHAR(36) NOT NULL PRIMARY KEY,
            created_at TIMESTAMP NOT NULL,
            seed INTEGER NOT NULL,
            since TIMESTAMP NOT NULL,
            until TIMESTAMP NOT NULL
        )""",
        """CREATE TABLE sample_members (
            sample_id VARCHAR(36) NOT NULL,
            position INTEGER NOT NULL,
            prediction_id VARCHAR(36) NOT NULL,
            PRIMARY KEY (sample_id, position)
        )""",
        "CREATE INDEX sample_members_prediction ON sample_members (prediction_id)",
        """CREATE TABLE claims (
            prediction_id VARCHAR(36) NOT NULL PRIMARY KEY,
            reviewer TEXT NOT NULL,
            expires_at TIMESTAMP NOT NULL
        )""",
        "CREATE INDEX predictions_reported ON predictions (sender_report, id) WHERE sender_report IS NOT NULL",
        # An id ends in random digits, so these rows are a fair sixteenth of the log (sampling.py).
        "CREATE INDEX predictions_sixteenth ON predictions (id) WHERE substr(id, 36) = '0'",
        # Sums by the hour, so that figures over millions of rows take no time (rollups.py).
        """CREATE TABLE hourly_predictions (
            hour TIMESTAMP NOT NULL,
            source TEXT NOT NULL,
            model_version TEXT NOT NULL,
            label TEXT NOT NULL,
            latency_bucket INTEGER NOT NULL,
            count INTEGER NOT NULL,
            PRIMARY KEY (hour, source, model_version, label, latency_bucket)
        )""",
        """CREATE TABLE hourly_failures (
            hour TIMESTAMP NOT NULL,
            source TEXT NOT NULL,
            status INTEGER NOT NULL,
            what TEXT NOT NULL,
            count INTEGER NOT NULL,
            PRIMARY KEY (hour, source, status, what)
        )""",
        "CREATE TABLE rolled_up (before_id VARCHAR(36) NOT NULL)",
        "INSERT INTO rolled_up VALUES ('')",
        # Ranges of the log that somebody declared normal: what drift is measured against.
        """CREATE TABLE drift_references (
            id VARCHAR(36) NOT NULL PRIMARY KEY,
            created_at TIMESTAMP NOT NULL,
            since TIMESTAMP NOT NULL,
            until TIMESTAMP NOT NULL
        )""",
        # Who may come in: keys for programs, and the wrong passwords of each address.
        """CREATE TABLE api_keys (
            name TEXT NOT NULL PRIMARY KEY,
            created_at TIMESTAMP NOT NULL,
            key_hash TEXT NOT NULL UNIQUE,
            revoked_at TIMESTAMP
        )""",
        """CREATE TABLE failed_sign_ins (
            address TEXT NOT NULL PRIMARY KEY,
            count INTEGER NOT NULL,
            last_at TIMESTAMP NOT NULL
        )""",
    ],
    [  # 3
        # Which record of a file or a stream became which prediction, so that none is logged twice.
        "CREATE TABLE origins (origin TEXT NOT NULL PRIMARY KEY, prediction_id VARCHAR(36) NOT NULL)",
    ],
    [  # 4
        # Work that runs outside the web workers (webapp/jobs/).
        """CREATE TABLE jobs (
            id VARCHAR(36) NOT NULL PRIMARY KEY,
            created_at TIMESTAMP NOT NULL,
            kind TEXT NOT NULL,
            arguments TEXT NOT NULL,
            started_by TEXT NOT NULL,
            host TEXT NOT NULL,
            state TEXT NOT NULL,
            claim VARCHAR(36),
            cancel_asked INTEGER NOT NULL,
            beat_at TIMESTAMP NOT NULL,
            progress DOUBLE PRECISION,
            message TEXT NOT NULL,
            finished_at TIMESTAMP,
            result TEXT
        )""",
        # One at a time, over all processes and hosts that share this database.
        "CREATE UNIQUE INDEX jobs_running ON jobs (state) WHERE state = 'running'",
    ],
    [  # 5
        # The consumers of streams that are at work, as they say themselves (consumers.py).
        """CREATE TABLE stream_consumers (
            name VARCHAR(255) NOT NULL PRIMARY KEY,
            topic TEXT NOT NULL,
            consumer_group TEXT NOT NULL,
            seen_at TIMESTAMP NOT NULL,
            lag BIGINT,
            records BIGINT NOT NULL,
            dead_letters BIGINT NOT NULL,
            troubles BIGINT NOT NULL,
            records_per_second DOUBLE PRECISION NOT NULL
        )""",
    ],
    [  # 6
        # What the version that is tried in the shadow says, and who switched versions.
        "ALTER TABLE predictions ADD COLUMN challenger_version TEXT",
        "ALTER TABLE predictions ADD COLUMN challenger_label TEXT",
        "ALTER TABLE predictions ADD COLUMN challenger_probability DOUBLE PRECISION",
        """CREATE INDEX predictions_challenged ON predictions (challenger_version, id)
            WHERE challenger_version IS NOT NULL""",
        "CREATE INDEX predictions_contested ON predictions (id) WHERE challenger_label <> label",
        """CREATE TABLE switches (
            id VARCHAR(36) NOT NULL PRIMARY KEY,
            created_at TIMESTAMP NOT NULL,
            kind TEXT NOT NULL,
            from_version TEXT,
            to_version TEXT,
            who TEXT NOT NULL,
            why TEXT NOT NULL
        )""",
        """CREATE TABLE fitted_reviews (
            model_version TEXT NOT NULL,
            prediction_id VARCHAR(36) NOT NULL,
            PRIMARY KEY (model_version, prediction_id)
        )""",
    ],
    [  # 7
        # Who is signed in, so that a sign-out ends copies of the cookie too.
        "CREATE TABLE sign_ins (who TEXT NOT NULL PRIMARY KEY, until TIMESTAMP NOT NULL)",
    ],
]


def migrate(engine: sa.Engine, steps: list[list[str]] = STEPS) -> int:
    """Run the steps that this log has not had yet, each in one transaction; return the version it has now.

    Processes and hosts that start at the same moment take turns, so that each step runs once.
    Raises LogUnavailable for a log that a newer Hamlet wrote.
    """
    with engine.connect() as connection:
        if sa.inspect(connection).has_table("schema_version") and _version(connection) == len(steps):
            return len(steps)  # nothing to do, so no need to wait for somebody's lock
    with engine.execution_options(transaction="write", patient=True).begin() as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"))
        version = _version(connection)
        if version is None:
            connection.execute(sa.text("INSERT INTO schema_version VALUES (0)"))
            version = 0
        if version > len(steps):
            raise LogUnavailable(
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
