"""The log's tables, as SQLAlchemy sees them. They are created and changed by migrations.py alone."""

import datetime as dt
from typing import TypedDict

import sqlalchemy as sa

from webapp.log.columns import JSONText, UTCDateTime


class TermContribution(TypedDict):
    """One line of an explanation: a term and what it adds to the log-odds of spam."""

    term: str
    contribution: float


class PredictionRow(TypedDict):
    """One prediction, as it is stored and as every door shows it."""

    id: str
    created_at: dt.datetime
    source: str  # form, api, batch, stream or cli
    text: str | None  # None where HAMLET_STORE_TEXT is false
    text_hash: str | None  # and this is None where it is true
    label: str
    spam_probability: float
    threshold: float
    model_version: str
    explanation: list[TermContribution] | None
    latency_ms: float
    request_id: str | None
    sender_report: str | None  # right, wrong or unsure: what the sender said of the verdict; not the truth
    challenger_version: str | None  # the model that was tried in the shadow, if one was, and what it says
    challenger_label: str | None
    challenger_probability: float | None


class FailureRow(TypedDict):
    """One request that was refused or went wrong."""

    id: str
    created_at: dt.datetime
    source: str
    status: int
    what: str
    request_id: str | None


class ReviewRow(TypedDict):
    """What one reviewer said of one prediction."""

    id: str
    created_at: dt.datetime
    prediction_id: str
    reviewer: str
    true_label: str
    queue: str
    overruled: int


metadata = sa.MetaData()

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("text_hash", sa.Text),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("spam_probability", sa.Double, nullable=False),
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("explanation", JSONText),
    sa.Column("latency_ms", sa.Double, nullable=False),
    sa.Column("request_id", sa.Text),
    sa.Column("sender_report", sa.Text),
    sa.Column("challenger_version", sa.Text),
    sa.Column("challenger_label", sa.Text),
    sa.Column("challenger_probability", sa.Double),
)

failures = sa.Table(
    "failures",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),
)

reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("prediction_id", sa.String(36), nullable=False),
    sa.Column("reviewer", sa.Text, nullable=False),  # web:SESSION, key:NAME or import
    sa.Column("true_label", sa.Text, nullable=False),  # spam, ham or unsure
    sa.Column("queue", sa.Text, nullable=False),  # why this message was looked at: random, uncertain, reported, ...
    sa.Column("overruled", sa.Integer, nullable=False),  # 1: somebody settled a disagreement the other way
)

# The predictions whose reviewers contradict each other.
disagreements = sa.Table("disagreements", metadata, sa.Column("prediction_id", sa.String(36), primary_key=True))

origins = sa.Table(  # which record of a file or a stream a prediction was made for: see origins.py
    "origins",
    metadata,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("prediction_id", sa.String(36), nullable=False),
)

jobs = sa.Table(  # work that runs outside the web workers: see webapp/jobs/
    "jobs",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("arguments", JSONText, nullable=False),
    sa.Column("started_by", sa.Text, nullable=False),  # as reviews.reviewer
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # running, done, failed, cancelled or interrupted
    sa.Column("claim", sa.String(36)),  # of the process that runs it; NULL until that has started
    sa.Column("cancel_asked", sa.Integer, nullable=False),
    sa.Column("beat_at", UTCDateTime, nullable=False),  # when that process last said that it lives
    sa.Column("progress", sa.Double),  # 0 to 1, NULL where unknown
    sa.Column("message", sa.Text, nullable=False),  # how far it is, or why it failed
    sa.Column("finished_at", UTCDateTime),
    sa.Column("result", JSONText),
)

switches = sa.Table(  # which version was served or tried from when on, by whom and why: see lifecycle/switching.py
    "switches",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # use, rollback or challenge
    sa.Column("from_version", sa.Text),
    sa.Column("to_version", sa.Text),
    sa.Column("who", sa.Text, nullable=False),  # web:SESSION or command:USER
    sa.Column("why", sa.Text, nullable=False),
)

# The reviewed messages that a version was fitted on: they say nothing about how good it is on new ones.
fitted_reviews = sa.Table(
    "fitted_reviews",
    metadata,
    sa.Column("model_version", sa.Text, primary_key=True),
    sa.Column("prediction_id", sa.String(36), primary_key=True),
)

samples = sa.Table(
    "samples",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("since", UTCDateTime, nullable=False),
    sa.Column("until", UTCDateTime, nullable=False),
)

sample_members = sa.Table(
    "sample_members",
    metadata,
    sa.Column("sample_id", sa.String(36), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),  # from 0: the order, itself random, in which to review
    sa.Column("prediction_id", sa.String(36), nullable=False),
)

claims = sa.Table(
    "claims",
    metadata,
    sa.Column("prediction_id", sa.String(36), primary_key=True),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("expires_at", UTCDateTime, nullable=False),
)

hourly_predictions = sa.Table(
    "hourly_predictions",
    metadata,
    sa.Column("hour", UTCDateTime, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("model_version", sa.Text, primary_key=True),
    sa.Column("label", sa.Text, primary_key=True),
    sa.Column("latency_bucket", sa.Integer, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
)

hourly_failures = sa.Table(
    "hourly_failures",
    metadata,
    sa.Column("hour", UTCDateTime, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("status", sa.Integer, primary_key=True),
    sa.Column("what", sa.Text, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
)

rolled_up = sa.Table("rolled_up", metadata, sa.Column("before_id", sa.String(36), nullable=False))

drift_references = sa.Table(
    "drift_references",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("since", UTCDateTime, nullable=False),
    sa.Column("until", UTCDateTime, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("key_hash", sa.Text, nullable=False),
    sa.Column("revoked_at", UTCDateTime),
)

failed_sign_ins = sa.Table(
    "failed_sign_ins",
    metadata,
    sa.Column("address", sa.Text, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("last_at", UTCDateTime, nullable=False),
)

sign_ins = sa.Table(
    "sign_ins", metadata, sa.Column("who", sa.Text, primary_key=True), sa.Column("until", UTCDateTime, nullable=False)
)

# The consumers of streams that are at work: see consumers.py.
stream_consumers = sa.Table(
    "stream_consumers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("consumer_group", sa.Text, nullable=False),
    sa.Column("seen_at", UTCDateTime, nullable=False),
    sa.Column("lag", sa.BigInteger),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column("dead_letters", sa.BigInteger, nullable=False),
    sa.Column("troubles", sa.BigInteger, nullable=False),
    sa.Column("records_per_second", sa.Double, nullable=False),
)
