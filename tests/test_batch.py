"""Files that are scored as a whole: every format, every kind of bad row, and every way to be interrupted."""

import csv
import functools
import gzip
import io
import json
import os
import resource
import signal
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest
from clients import wait_until
from conftest import HAM, SPAM, messages, stored

from webapp.errors import BadData
from webapp.extras.batch import output, run
from webapp.log.tables import idempotency_keys, predictions
from webapp.model.files import open_table
from webapp.model.labels import Labels

INTERRUPT = Mock(side_effect=KeyboardInterrupt)
ADDED = ["label", "spam_probability", "model_version", "prediction_id", "error"]


@pytest.fixture
def score(flask, tmp_path):
    """Score content with flask batch; return (exit code, content of the output, what was said)."""

    def score(content, *options, name="in.csv", out="out.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        result = flask("batch", tmp_path / name, tmp_path / out, *options)
        target = tmp_path / out
        return result.exit_code, target.read_bytes() if target.exists() else None, result.output

    return score


def table(content):
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_a_csv_keeps_its_values_and_gets_five_columns(app, score):
    rest = ["007", "1e5", "", "=1+1", 'with "quotes", and\r\na new line', "café", "a\rb"]
    buffer = io.StringIO()
    texts = [SPAM if number % 2 else HAM for number in range(len(rest))]
    csv.writer(buffer).writerows([["ref", "text", "note"], *zip(range(len(rest)), texts, rest, strict=True)])
    code, content, said = score("\ufeff" + buffer.getvalue())
    assert code == 0, said
    assert content.decode().startswith(f"\ufeffref,text,note,{','.join(ADDED)}\n")
    found = table(content.removeprefix(b"\xef\xbb\xbf"))
    assert [(row["ref"], row["text"], row["note"]) for row in found] == [
        (str(number), text, note) for number, (text, note) in enumerate(zip(texts, rest, strict=True))
    ]
    assert [row["label"] for row in found] == ["ham", "spam"] * 3 + ["ham"]
    assert [row["prediction_id"] for row in found] == stored(app)
    assert [float(row["spam_probability"]) for row in found] == stored(app, predictions.c.spam_probability)
    assert set(stored(app, predictions.c.source)) == {"batch"}
    assert "7 rows: 3 spam, 4 ham, 0 with an error" in said
    assert 'in.csv: CSV, messages in "text"' in said


def test_a_list_without_header_is_known_by_the_models_words(app, score, monkeypatch):
    monkeypatch.setattr(app.extensions["inference"].registry.current(), "labels", Labels("normal", "urgent"))
    code, content, said = score(f"Normal\t{HAM}\nurgent\t{SPAM}\n")
    assert (code, content.count(b"\n"), "2 rows: 1 urgent, 1 normal" in said) == (0, 3, True), said


def test_json_lines_keep_what_is_nested(score):
    first = '{"message" : "win money", "n": {"a": [1.0, 1e400, "\\u00e9", "\\ud800"]}, "m": 12345678901234567890123 }'
    code, content, _ = score(f'{first}\n\n{{"message":"{HAM}","Label":"spam"}}', name="in.jsonl", out="out.ndjson")
    lines = content.decode().split("\n")
    assert code == 0
    assert lines[0].startswith(first.removesuffix(" }") + ', "hamlet_label": "')
    assert json.loads(lines[1])["hamlet_label"] == "ham"
    assert json.loads(lines[1])["error"] is None


def test_the_format_is_told_from_the_content_and_kept(score, flask, tmp_path):
    for delimiter in ";\t|":
        content = score(f"id{delimiter}message\n1{delimiter}{SPAM}\n", "--overwrite", name="data", out="out")[1]
        assert list(csv.reader(io.StringIO(content.decode()), delimiter=delimiter))[1][2] == "spam"
    quoted = f'"1"\t"{SPAM}\n\t"'  # as in CSV, where all names have marks; some would be text when it is read again
    content = score(f'"id"\t"text"\n{quoted}\n', "--overwrite", name="data", out="out")[1].decode()
    assert content.startswith('"id"\t"text"\t"label"\t')
    assert f'{quoted}\t"spam"\t' in content
    packed = gzip.compress(json.dumps({"sms": SPAM}).encode(), mtime=0)
    assert json.loads(score(packed, "--overwrite", name="data", out="out")[1])["label"] == "spam"
    assert "is not the name of CSV" in score(f"text\n{SPAM}\n", out="out.jsonl")[2]
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(f"text,Label,error\n{HAM},spam,none\n".encode(), mtime=0))
    assert flask("batch", tmp_path / "in.csv.gz").exit_code == 0  # beside the input, where no name is given
    row = table(gzip.decompress((tmp_path / "in.predictions.csv.gz").read_bytes()))[0]
    assert (row["Label"], row["hamlet_label"], row["error"], row["hamlet_error"]) == ("spam", "ham", "none", "")


def test_parquet_keeps_its_types(app, flask, tmp_path, pa):
    texts = [text for _, text in messages(2100)] + [None]
    source = pa.table({"number": pa.array(range(2101), pa.int16()), "text": texts, "label": [["a"]] * 2101})
    source_file, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pa.parquet.write_table(source, source_file)
    result = flask("batch", source_file, target, "--resume")
    assert result.exit_code == 1, result.output
    found = pa.parquet.read_table(target)
    assert found.select(["number", "text", "label"]).equals(source)
    assert found.column_names[3:] == ["hamlet_label", *ADDED[1:]]
    assert sorted(found["prediction_id"].to_pylist()[:-1]) == stored(app)
    assert found["prediction_id"].to_pylist()[-1] is None
    assert found["error"].to_pylist()[-1] == "The text is missing."
    logged = stored(app)
    for options in ({"overwrite": True}, {"resume": True}):  # and what replaces a file goes on to do so
        with pytest.raises(KeyboardInterrupt):
            run.run_batch(app.extensions["inference"], source_file, target, INTERRUPT, **options)
    assert flask("batch", source_file, target, "--resume").exit_code == 1
    again = pa.parquet.read_table(target)
    assert again.select(found.column_names[:6]).equals(found.select(found.column_names[:6]))
    assert len(stored(app)) == 2 * len(logged)  # by the two runs, whatever they were interrupted by


def test_on_windows_one_process_scores_and_no_open_file_is_renamed(score, monkeypatch, tmp_path):
    rename = Path.replace

    def rename_closed(path, target):
        assert path not in [Path(os.path.realpath(link)) for link in Path("/proc/self/fd").iterdir()]
        return rename(path, target)

    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr(output, "fcntl", None)
    monkeypatch.setattr(Path, "replace", rename_closed)
    monkeypatch.setattr(run, "CHUNK_ROWS", 1)
    assert "2 rows: 1 spam, 1 ham" in score(f"text\n{SPAM}\n{HAM}\n")[2]


BAD_ROWS = {
    "csv": {
        "1,": "is empty",
        "2," + "x" * 10_001: "at most 10,000 characters",
        "3": "has 1 field where the header has 2",
        '4,hi,"how, are", you': "What is too much: how, are, you",
        "6,nul\x00nul": "NUL",
        '7,"never closed': "not closed",
        "8," + "y" * 40_000: "more than 1,048,576 characters",
    },
    "jsonl": {
        "{nonsense": "not valid JSON",
        '{"text": 5}': "not a string",
        '{"text": "b", "text": "c"}': "names a member twice",
        "[1]": "not a JSON object",
        "{}": "is missing",
        '{"text": "\\ud800"}': "surrogate",
    },
}


@pytest.mark.parametrize("ending", BAD_ROWS)
def test_bad_rows_are_named_and_counted_and_the_others_scored(app, score, monkeypatch, ending):
    monkeypatch.setattr("webapp.model.lines.LONGEST_ROW", 30_000)
    bad, good = BAD_ROWS[ending], {"csv": f"good,{HAM}", "jsonl": f'{{"text": "{HAM}"}}'}[ending]
    head = {"csv": "id,text\n", "jsonl": ""}[ending]
    code, content, said = score(head + "".join(f"{good}\n{line}\n" for line in bad), name=f"in.{ending}", out="out")
    assert code == 1
    assert f"{2 * len(bad)} rows: 0 spam, {len(bad)} ham, {len(bad)} with an error" in said
    if ending == "jsonl":
        found = [json.loads(line) for line in content.splitlines()]
        assert found[1]["line"] == "{nonsense"
    else:
        found = table(content)
        assert all(None not in [*row, *row.values()] for row in found)
    assert {(row["label"], row["error"] or "") for row in found[::2]} == {("ham", "")}
    for row, why in zip(found[1::2], bad.values(), strict=True):
        assert why in row["error"]
        assert {row["label"], row["prediction_id"]} <= {"", None}
    assert len(stored(app)) == len(bad)


def test_no_file_is_overwritten_unasked_and_never_the_input(score, tmp_path, flask):
    source = f"text\n{SPAM}\n"
    (tmp_path / "folder").mkdir()
    (tmp_path / "in.csv.partial").write_text(source)
    assert "name it with --text-column" in score(f"a,b\n1,{SPAM}\n")[2]
    assert score(f"a,b\n1,{SPAM}\n", "--text-column", "b")[0] == 0
    code, _, said = score(source)
    assert (code, len(said.splitlines())) == (2, 1)
    assert "--overwrite" in said
    assert score(source, "--overwrite")[0] == 0
    for target, why in (
        ("in.csv.partial", "is the input itself, or would grow in it"),
        ("in.csv", "is the input itself, or would grow in it"),
        ("folder", "is no file: name another output"),
        ("none/out", "(No such file or directory).\n"),
    ):
        assert why in flask("batch", tmp_path / "in.csv.partial", tmp_path / target, "--overwrite").stderr, target
    assert (tmp_path / "in.csv.partial").read_text() == source


@pytest.fixture
def long_csv(tmp_path):
    path = tmp_path / "long.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "text"])
        for number, (_, text) in enumerate(messages(1000) * 8):
            writer.writerow([number, f"{text}\n{number}" if number % 100 else ""])
    return path


@pytest.fixture
def command(start_flask):
    """Start the real command."""
    return functools.partial(start_flask, "batch", stderr=subprocess.PIPE)


def end(process):
    """Wait for a command; return (exit code, what it said)."""
    said = process.communicate(timeout=60)[1].decode()
    return process.returncode, said


def test_killed_again_and_again_and_resumed_each_row_is_there_once(app, flask, command, long_csv, tmp_path):
    whole, pieces = tmp_path / "whole.csv.gz", tmp_path / "pieces.csv.gz"
    assert flask("batch", long_csv, whole, "--no-log").exit_code == 1
    for done in (0, 2_000):
        process = command(long_csv, pieces, "--resume")
        wait_until(lambda least=done: len(stored(app)) > least)
        process.kill()
        end(process)
        assert not pieces.exists()
    assert "--resume" in flask("batch", long_csv, pieces).output
    logged = stored(app)
    assert flask("batch", long_csv, pieces, "--resume").exit_code == 1
    content = gzip.decompress(pieces.read_bytes())
    assert [row | {"prediction_id": ""} for row in table(content)] == table(gzip.decompress(whole.read_bytes()))
    assert sorted(row["prediction_id"] for row in table(content) if not row["error"]) == stored(app)
    assert set(logged) <= set(stored(app))
    assert len(stored(app, idempotency_keys)) == 7920
    assert sorted(path.name for path in tmp_path.glob("pieces*")) == [pieces.name]
    assert "complete already" in flask("batch", long_csv, pieces, "--resume").output


def test_a_full_disk_gives_one_clear_line_and_leaves_a_resumable_run(command, flask, long_csv, tmp_path):
    target, whole = tmp_path / "out.csv", tmp_path / "whole.csv"
    most = 500_000  # bytes in a file; the log's own are fewer

    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    code, said = end(command(long_csv, target, "--no-log", preexec_fn=small_disk))
    assert code == 2
    assert len(said.splitlines()) == 1, said
    assert "cannot be written (File too large)" in said
    assert not target.exists()
    assert flask("batch", long_csv, target, "--no-log", "--resume").exit_code == 1
    assert flask("batch", long_csv, whole, "--no-log").exit_code == 1
    assert target.read_bytes() == whole.read_bytes()


def test_a_run_that_waited_for_another_to_end_leaves_its_result_alone(app, tmp_path, monkeypatch):
    (tmp_path / "in.csv").write_text("text\nhello\n")
    target = tmp_path / "out.csv"

    def take_lock_when_the_other_has_ended(file):
        output.partial(target).replace(target)
        return True

    monkeypatch.setattr(output, "take_lock", take_lock_when_the_other_has_ended)
    with open_table(tmp_path / "in.csv") as lines:
        output.partial(target).write_text("all of it")
        with pytest.raises(BadData, match="Another run"), output.open_output(target, lines, 3):
            pass
    assert target.read_text() == "all of it"


def test_ctrl_c_ends_it_and_nobody_else_may_write_meanwhile(command, flask, long_csv, tmp_path):
    target = tmp_path / "out.csv"
    with long_csv.open("ab") as file:  # more than can be scored before Ctrl-C
        file.write(long_csv.read_bytes().split(b"\n", 1)[1] * 100)
    process = command(long_csv, target, "--no-log", process_group=0)
    wait_until(lambda: json.loads(run.state_file(target).read_text())["rows"] > 0)
    assert "Another run is writing" in flask("batch", long_csv, target, "--no-log", "--resume").output
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    code, said = end(process)
    assert code == 130, said
    assert said == "Interrupted.\n"
    assert not target.exists()


def test_a_changed_input_is_refused_and_the_old_file_stays_until_all_is_done(app, flask, models, long_csv, tmp_path):
    target = tmp_path / "out.csv"

    def resumed(*options):
        return flask("batch", long_csv, target, "--resume", "--no-log", *options)

    inference = app.extensions["inference"]
    target.write_text("of last month\n")
    with pytest.raises(KeyboardInterrupt):
        run.run_batch(inference, long_csv, target, INTERRUPT, log=False, overwrite=True)
    assert target.read_text() == "of last month\n"
    began_with = inference.registry.current_version()
    assert "log False, " in flask("batch", long_csv, target, "--resume").output
    assert "text column text" in resumed("--text-column", "number").output
    about = long_csv.stat()
    os.utime(long_csv, (about.st_atime, about.st_mtime + 1))
    assert "The interrupted run began with" in resumed().output
    os.utime(long_csv, ns=(about.st_atime_ns, about.st_mtime_ns))

    state = run.state_file(target).rename(tmp_path / "state")
    assert "out.csv.partial.json, which says how far the run came, is gone" in resumed().output
    state.rename(run.state_file(target))

    (models / "current").write_text("another\n")  # what is served now does not matter
    (models / began_with).rename(models / "away")
    inference.registry.served.model.version = "another"
    assert f"The run began with model {began_with}, which cannot be used any more" in resumed().output
    assert "--overwrite" in resumed().output
    (models / "away").rename(models / began_with)
    assert resumed().exit_code == 1
    assert {row["model_version"] for row in table(target.read_bytes())} == {began_with, ""}
    assert len(table(target.read_bytes())) == 8_000


def test_pipes(command, flask, app, tmp_path, monkeypatch):
    monkeypatch.setenv("HAMLET_STORE_TEXT", "false")
    lines = "".join(json.dumps({"text": text, "n": n}) + "\n" for n, text in enumerate([SPAM, HAM] * 2100))
    process = command("-", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    content, said = process.communicate(lines.encode(), timeout=60)
    found = [json.loads(line) for line in content.splitlines()]
    assert process.returncode == 0, said
    assert [row["n"] for row in found] == list(range(4200))
    assert [row["label"] for row in found] == ["spam", "ham"] * 2100
    assert sorted(row["prediction_id"] for row in found) == stored(app)
    assert set(stored(app, predictions.c.text)) == {None}

    target = tmp_path / "out.csv"
    assert flask("batch", "-", target, "--no-log", input=f"text\n{SPAM}\n").exit_code == 0
    assert [(row["label"], row["prediction_id"]) for row in table(target.read_bytes())] == [("spam", "")]
    assert len(stored(app)) == 4200
    assert flask("batch", target, "-").stdout.startswith("text,label,")
    with Path("/dev/full").open("wb") as full:
        code, said = end(command(target, "-", "--no-log", stdout=full))
    assert (code, said) == (2, "Error: The output cannot be written (No space left on device).\n")
    reading, writing = os.pipe()
    os.close(reading)
    assert end(command(target, "-", stdout=writing)) == (2, "Error: The output cannot be written (Broken pipe).\n")
    os.close(writing)
    assert "--resume needs files" in flask("batch", "-", target, "--resume", input="text\n").output
