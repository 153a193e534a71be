"""Any text through every door: it is scored and logged as it is, or refused with the reason; never a fault.

HAMLET_FUZZ_TEXTS says how many texts hypothesis makes up for each door (`make fuzz` takes many more).
"""

import csv
import io
import json
import math
import os
import re
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from conftest import execute
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from webapp.api.schemas import TEXT_PATTERN
from webapp.errors import InvalidInput
from webapp.extras.stream.handler import Record, read
from webapp.inference import check_text
from webapp.log.tables import predictions
from webapp.model.features import term_values
from webapp.model.tokenizer import token_spans
from webapp.web.words import mark

TEXTS = int(os.environ.get("HAMLET_FUZZ_TEXTS", "30"))

ODD = [
    *("", " \t\n\r\x1c\x85\xa0\u2003\u3000", "\x00", "a\x00b", "\ud83d", "\udc00\ud800", "\ufeff", "\ufeffhello"),
    *("\u202eevil\u202c \u2066abc\u2069", "f\u200br\u200ce\u200de\u2060 prize", "1½ ⅓ ℡ ㏂ № ⑴ ﬁ Ǆ İ ß"),
    *("e" + "\u0301" * 9_999, "\u0301" * 10_000, "\u200b" * 10_000, "👩‍👩‍👧‍👦" * 500 + "🏳️‍🌈🇬🇧👍🏽"),
    *("\ufdfa" * 10_000, "x" * 10_000, "x" * 10_001, "😀" * 10_000),  # the first is read as 18 characters each
    *("=HYPERLINK(0)", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "＝1", "'=1", "''=1", "'a", '"', '";,\t\'"', "\r"),
    *("a\r\nb\rc\nd\x0be\x0cf\u2028g\u2029h", "\U0010ffff\ufffe\uffff\ue000", "".join(map(chr, range(1, 256)))),
    *("{{7*7}} ${7*7} <script>alert(1)</script> %s %00 \\u0000 \\x00", "'; DROP TABLE predictions; --"),
    *('{"text": "a"}', "NaN", "null", "\x1b[31mred\x07"),
]
any_text = st.one_of(
    st.text(),  # all of Unicode but halves of surrogate pairs
    st.text(st.characters()),  # with them
    st.text(
        st.sampled_from("\u200b\u200d\u202e\u2066\u0301\ufe0f\ufeff\u00ad👩🏽½ﷺİａAа0.-/@!£'\" \r\n\t"), max_size=60
    ),
    st.text(st.sampled_from("w.h/tp:s@1,0-+()£ a'_!"), max_size=200),  # what the regular expressions look for
    st.builds(lambda text, times: (text * times)[:10_100], st.text(max_size=9), st.integers(1, 4_000)),
    st.sampled_from(ODD),
)
many_texts = settings(
    max_examples=TEXTS,
    deadline=None,
    database=None,
    derandomize="HAMLET_FUZZ_TEXTS" not in os.environ,  # the same ones in every ordinary run
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def is_good(text):
    try:
        check_text(text)
    except InvalidInput:
        return False
    return True


def newest(app):
    return execute(app.extensions["engine"], sa.select(predictions.c.text).order_by(predictions.c.id.desc()).limit(1))


def count(app):
    return execute(app.extensions["engine"], sa.select(sa.func.count()).select_from(predictions))[0]


@pytest.fixture
def app(app):
    app.testing = False  # a fault is a 500, as it would be for a visitor
    return app


@given(any_text)
@many_texts
def test_the_model_reads_it(app, text):
    assert all(math.isfinite(value) for value in term_values(text).values())
    score = app.extensions["inference"].registry.current().score(text)
    assert 0 <= score.spam_probability <= 1
    assert all(map(math.isfinite, score.contributions.values()))
    assert all(0 <= start < end <= len(text) for start, end, _ in token_spans(text))
    explanation = [{"term": term, "contribution": 1.0} for term in score.contributions]
    assert "".join(piece for piece, _, _ in mark(text, explanation)) == text


@given(any_text)
@many_texts
def test_the_api_answers_and_logs_it_as_it_is(app, client, text):
    before = count(app)
    answer = client.post("/api/v1/predict", data=json.dumps({"text": text}), content_type="application/json")
    assert answer.status_code == (200 if is_good(text) else 422)
    assert count(app) - before == (answer.status_code == 200)
    if answer.status_code == 200:
        assert newest(app) == [client.get(f"/api/v1/predictions/{answer.json['id']}").json["text"]] == [text]
    else:
        assert (answer.content_type, answer.json["errors"][0]["field"]) == ("application/problem+json", "text")


@given(any_text)
@example("<b>Frее</b>  entry\u200b! ２ win:\n  <script>call ☎ 0906 170 1461 or visit prize.top — ﬁne?")
@many_texts
def test_the_form_answers_and_shows_it_as_it_is(app, client, text):
    before = count(app)
    # Half a surrogate pair cannot be sent: what a form holds of one comes as it was written, %ED%A0%80.
    seen = re.sub("[\ud800-\udfff]", lambda half: quote(half[0].encode(errors="surrogatepass")), text)
    answer = client.post("/", data={"text": text.encode(errors="surrogatepass")})
    seen = seen.replace("\r\n", "\n")
    assert answer.status_code == (303 if is_good(seen) else 422)
    assert count(app) - before == (answer.status_code == 303)
    if answer.status_code == 303:
        assert newest(app) == [seen]
        page = client.get(answer.location)
        assert page.status_code == 200
        shown = re.search(r'<blockquote class="message"[^>]*>(.*?)</blockquote>', page.text, re.DOTALL)[1]
        assert Markup(re.sub(r"<[^>]+>", "", shown)).unescape() == seen


def test_the_schema_calls_good_what_the_api_takes():
    pattern = re.compile(TEXT_PATTERN)
    surrogates = range(0xD800, 0xE000)  # which JSON in UTF-8 cannot hold
    for c in (chr(number) for number in range(0x110000) if number not in surrogates):
        assert (bool(pattern.search(c)), bool(pattern.search(f"a {c}"))) == (is_good(c), c != "\0"), c


@given(st.lists(st.one_of(st.none(), any_text.map(lambda t: t.encode(errors="surrogatepass")), st.binary())))
@many_texts
def test_each_record_of_a_stream_is_logged_or_a_dead_letter(app, values):
    before = count(app)
    records = [Record("messages", 0, before * 1000 + at, 1, None, value, []) for at, value in enumerate(values)]
    usable, letters = read(records, "cluster", "dead")
    assert len(usable) + len(letters) == len(records)
    rows = app.extensions["inference"].predict([text for _, text in usable.values()], "stream", list(usable))
    assert count(app) - before == len(rows)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@given(st.lists(any_text, min_size=1, max_size=50))
@settings(many_texts, max_examples=max(5, TEXTS // 20))
def test_each_row_of_a_file_is_scored_or_says_why_not(app, flask, tmp_path, ending, texts):
    source, target, before = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}", count(app)
    if ending == "jsonl":
        content = "".join(json.dumps({"text": text, "n": at}) + "\n" for at, text in enumerate(texts))
    else:  # bytes that are no UTF-8 are read as Windows-1252
        texts = [re.sub("[\ud800-\udfff]", "?", text) for text in texts]
        csv.writer(buffer := io.StringIO()).writerows([["n", "text"], *enumerate(texts)])
        content = buffer.getvalue()
    source.write_bytes(content.encode())
    result = flask("batch", source, target, "--overwrite")
    assert result.exit_code == (0 if all(map(is_good, texts)) else 1), result.output
    with target.open(newline="") as file:
        rows = [json.loads(line) for line in file] if ending == "jsonl" else list(csv.DictReader(file))
    assert [int(row["n"]) for row in rows] == list(range(len(texts)))
    assert [bool(row["error"]) for row in rows] == [not is_good(text) for text in texts]
    assert count(app) - before == sum(map(is_good, texts))


@given(st.binary(max_size=400), st.sampled_from(["csv", "tsv", "jsonl", "csv.gz", "parquet", "txt"]))
@many_texts
def test_a_file_of_rubbish_is_refused_or_scored_but_no_fault(app, flask, tmp_path, content, ending):
    (tmp_path / f"in.{ending}").write_bytes(content)
    result = flask("batch", tmp_path / f"in.{ending}", tmp_path / "out", "--overwrite")
    assert isinstance(result.exception, SystemExit | None), result.exception


@given(any_text)
@many_texts
def test_export_has_no_formulas_and_gives_each_text_back(app, client, flask, text):
    if not is_good(text):
        return
    execute(app.extensions["engine"], sa.delete(predictions))
    client.post("/api/v1/predict", json={"text": text})
    exported = flask("log", "export", "--format", "jsonl").stdout_bytes.decode()
    assert json.loads(exported)["text"] == text
    table = flask("log", "export", "--format", "csv").stdout_bytes.decode()
    [row] = csv.DictReader(io.StringIO(table, newline=""))
    assert not any(re.match(r"[=+\-@\t\r\n＝＋－＠]", cell) for cell in row.values())
    assert re.sub(r"^'(?='*[=+\-@\t\r\n＝＋－＠])", "", row["text"]) == text


@given(st.sampled_from(["", "label,text\n", "id,true_label\n"]), st.text(), st.binary())
@many_texts
def test_tables_of_rubbish_are_refused_or_read(app, flask, tmp_path, head, text, more):
    (tmp_path / "in.csv").write_bytes(f"{head}{text}\n".encode() + more)
    for words in (["review", "import"], ["evaluate"]):
        result = flask(*words, tmp_path / "in.csv")
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert result.exit_code != 2 or "Error: " in result.output
