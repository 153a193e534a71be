"""The one reader of files: every form that people have messages in, and the one right value of each."""

import csv
import gzip
import io
import json
import math
import os

import pytest

from webapp.errors import BadData
from webapp.model import data, lines
from webapp.model.data import Example, drop_copies, read_labelled
from webapp.model.files import open_table

HAM = ["Could you look at the soup next week?", "See you at 18:30, bring milk; and rice", "I'll be home late – sorry"]
SPAM = ["WIN £500 now!", "Congratulations! Claim your prize, reply YES", "URGENT: call 09061701461 | free"]
ROWS = [pair for pairs in zip([("ham", t) for t in HAM], [("spam", t) for t in SPAM], strict=True) for pair in pairs]
LABELLED = [(text, label == "spam") for label, text in ROWS]


def table(rows=ROWS, header=("label", "text"), delimiter=",", end="\n"):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator=end).writerows([header, *rows] if header else rows)
    return buffer.getvalue()


def with_labels(ham, spam, **options):
    return table([(spam if label == "spam" else ham, text) for label, text in ROWS], **options)


@pytest.fixture
def write(tmp_path):
    def write(content, name="in.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def read(write):
    """Read content as labelled messages; return ((text, is_spam) of each, what was said)."""

    def read(content, name="in.csv", **options):
        dataset = read_labelled(write(content, name), **options)
        return [(one.text, one.is_spam) for one in dataset.examples], "\n".join(dataset.notices)

    return read


def texts(path, text_column=None):
    """Return the texts of a file, or what is wrong with a row, as batch reads it."""
    with open_table(path, text_column) as opened:
        return [row.error or row.values[0] for row in opened.read([opened.find_column(text_column)])]


# --- Encodings, delimiters, headers ---

TSV = "".join(f"{label}\t{text}\n" for label, text in ROWS)
FORMS = {
    "plain": table(),
    "Windows line ends": table(end="\r\n"),
    "byte order mark": "\ufeff" + table(),
    "byte order mark twice": "\ufeff\ufeff" + table(),
    "everything quoted": "\ufeff" + "".join(f'"{a}","{b}"\r\n' for a, b in [("label", "text"), *ROWS]),
    "UTF-16": table(delimiter="\t").encode("utf-16"),
    "UTF-16 of the other kind": b"\xfe\xff" + TSV.encode("utf-16-be"),
    "Windows-1252": table().encode("cp1252"),
    "semicolons": table(delimiter=";"),
    "pipes": table(delimiter="|"),
    "sep line": "\ufeffsep=;\r\n" + table(delimiter=";", end="\r\n"),
    "sep line in quotation marks": '"SEP=;"\n' + table(delimiter=";"),
    "blanks behind commas": "".join(f'{a}, "{b}"\n' for a, b in ROWS).join(["label, text\n", ""]),
    "blanks before marks": "".join(f'{a}, "{b}"\n' for a, b in ROWS).join(["label,text\n", ""]),
    "TSV": table(delimiter="\t"),
    "TSV in quotation marks, by R": "".join(f'"{a}"\t"{b}"\n' for a, b in [("label", "text"), *ROWS]),
    "TSV with its texts in quotation marks": "label\ttext\n" + "".join(f'{a}\t"{b}"\n' for a, b in ROWS),
    "UCI": TSV,
    "UCI with its texts in quotation marks": "".join(f'{a}\t"{b}"\n' for a, b in ROWS),
    "UCI in capitals": TSV.replace("ham\t", "HAM\t"),
    "UCI with an index": "".join(f'{at},{label},"{text}"\n' for at, (label, text) in enumerate(ROWS)),
    "text first": table([(text, label) for label, text in ROWS], header=("Message", "Category")),
    "columns numbered by pandas": table(header=("0", "1")),
    "two of six columns numbered by pandas": table([(text, label) for label, text in ROWS], header=("5", "0")),
    "columns and rows numbered by pandas": table([(at, *row) for at, row in enumerate(ROWS)], header=("", "0", "1")),
    "index without name": table([(at, *row) for at, row in enumerate(ROWS)], header=("", "label", "text")),
    "Kaggle": table([(*row, "", "", "") for row in ROWS], header=("v1", "v2", "", "", "")),
    "text and spam": table([(text, int(label == "spam")) for label, text in ROWS], header=("text", "spam")),
    "target": table([(int(a == "spam"), b, 3) for a, b in ROWS], header=("target", "transformed_text", "n")),
    "Enron": table(
        [(at, text[:9], text, label, "2001-05-01") for at, (label, text) in enumerate(ROWS)],
        header=("Message ID", "Subject", "Message", "Spam/Ham", "Date"),
    ),
    "underscores": table(header=("Email_Type", "email_text")),
    "Body": table(header=("Label ", " Body")),
    "empty rows": "\n\n,\nlabel,text\n\n,\n" + table(header=None).replace("\n", "\n\n , \n"),
    "JSON Lines": "\ufeff" + "\n\n\ufeff".join(json.dumps({"label": a, "text": b}) for a, b in ROWS),
    "JSON Lines in UTF-16": "".join(json.dumps({" Label": a, "TEXT": b}) + "\n" for a, b in ROWS).encode("utf-16"),
    "delimiters behind each row": table([(*row, "") for row in ROWS], end="\r\n"),
    "Not Spam, Spam": with_labels("Not Spam", "Spam"),
    "not-spam": with_labels("not-spam", "SPAM"),
    "0 and 1": with_labels("0", "1"),
    "0.0 and 1.0": with_labels("0.0", "1.0"),
    "decimal commas": with_labels("0,0", "1,0", delimiter=";"),
    "False and True": with_labels("False", "True"),
    "capitals and blanks": with_labels(" HAM ", "Spam\u00a0"),
    "marks of direction": with_labels("\u200fham", "spam\u200e").replace("label,text", "\u200flabel,\u2068text\u2069"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_messages(read, write, form):
    content = FORMS[form] if isinstance(FORMS[form], bytes) else FORMS[form].encode()
    assert read(content)[0] == LABELLED
    assert read(gzip.compress(content[:100], mtime=0) + gzip.compress(content[100:], mtime=0), "data")[0] == LABELLED
    if not form.startswith("UCI"):
        assert texts(write(content)) == [text for text, _ in LABELLED]  # as batch reads it


def test_spam_may_be_a_column_or_the_first_label(read):
    rows = [(label, text) for label, text in ROWS if label == "spam"] * 2 + ROWS
    found, said = read(table(rows, header=None))
    assert (len(found), found[0], "no header line" in said) == (len(rows), (SPAM[0], True), True)
    numbers = [(int(is_spam) + 1, text) for text, is_spam in LABELLED]
    assert read(table(numbers, header=None), labels=("1", "2"))[0] == LABELLED
    for zero, one in (("0", "1"), ("False", "True")):
        values = [(text, one if is_spam else zero) for text, is_spam in LABELLED]
        assert read(table(values, header=("mail", "spam")), text_column="mail")[0] == LABELLED
        with pytest.raises(BadData, match="no column text or message.* among mail, spam"):
            read(table(values, header=("mail", "spam")))


def test_what_is_taken_for_the_header_is_said(read, write):
    assert read(table())[1].endswith('in.csv: CSV, messages in "text", labels in "label"')
    assert read(TSV)[1].endswith('TSV, messages in "text", labels in "label", no header line')
    for first in ("See you soon", "From now on @ 5"):  # which is no mail
        with open_table(write(f"{first}\nWin cash now\n")) as opened:
            [said] = opened.notices(opened.find_column(None))
        assert said.endswith(f'CSV, messages in "{first}"; if that is a message, write a first line with text in it')


def test_bytes_that_are_no_utf8_concern_their_line_alone(read):
    good = "".join(f"ham,see you at {number} for €500 \U0001f600\n" for number in range(120))
    found, said = read(b"label,text\n" + good.encode() + b"spam,caf\xe9 for \x80500\n")
    assert found[0] == ("see you at 0 for €500 \U0001f600", False)
    assert found[-1] == ("café for €500", True)
    assert "in.csv: 1 line not in UTF-8, read as Windows-1252 (first line 122)" in said
    assert "9 lines not in UTF-8" in read(b"label,text\n" + b"spam,win \xa3500\n" * 9)[1]
    half_a_pair = (TSV + "ham\tx\ud83d\n").encode("utf-16", "surrogatepass")
    assert read(half_a_pair)[0] == [*LABELLED, ("x\N{REPLACEMENT CHARACTER}", False)]


# --- Quotation marks ---


def test_quotation_marks_in_a_tsv_are_text(read):
    rows = [*ROWS, ("ham", '"Could you come at nine?'), *ROWS, ("spam", '"OFFER ENDS" soon'), *ROWS]
    found, _ = read("label\ttext\n" + "".join(f"{label}\t{text}\n" for label, text in rows))
    assert [text for text, _ in found] == [text for _, text in rows]


def test_quotation_marks_of_excel_and_pandas_in_a_tsv_enclose_cells(read, write):
    lines = [*ROWS, ("ham", "first, then\nsecond"), ("spam", "WIN a\tcar\r\n\r\nnow")]
    quotes = [*ROWS, ("ham", 'She said "six, or seven"'), ("spam", '"FREE" today')]
    tabs = [*ROWS, ("spam", "WIN\ta car")]
    for rows in (lines, quotes, tabs, lines + quotes, lines[:1] + quotes * 300):
        expected = [(text, label == "spam") for label, text in rows]
        for header in (("label", "text"), None):
            content = table(rows, header=header, delimiter="\t")
            assert read(content)[0] == expected
            assert read(content.encode("utf-16"))[0] == expected
            assert texts(write(content)) == [text for _, text in rows]
    by_excel = "".join(f'{label}\t"{text}"\r\n' if "," in text else f"{label}\t{text}\r\n" for label, text in ROWS)
    assert read("label\ttext\r\n" + by_excel)[0] == LABELLED


SWALLOWED = {
    table() + 'ham,"Could you come?\nspam,win\nham,ok\n': "bad win ok",  # never closed
    table() + 'ham,"Could you come?\nspam,win\nham,ok\nspam,call now"\nham,bye\n': 'bad win ok call now" bye',
    table() + 'ham,"Could you come?\nspam,win\nspam,"OFFER ends\nham,bye\n': "bad win bad bye",
    'label,text\nham,"oh\nspam,win\nham,ok"\n': 'bad win ok"',
    'text,label\nhi,ham\n"oh,ham\nwin,spam\nok",ham\n': 'hi bad win ok"',
    'text,label\nhi,ham\n"oh,ham\nok",ham\n': 'hi bad ok"',
    'label,text\nNot-Spam,"oh\nspam,win\nNot-Spam,ok"\n': 'bad win ok"',
    'id,text\n7,a\n8,"b\n9,c\n10,d"\n11,e\n': 'a bad c d" e',
    'text,nr\nhi,7\n"oh,8\nwin,9\nok",10\n': 'hi bad win ok"',
    'text,x\nhi,0.5\n"oh,0.25\nwin,0.125\nok",0.75\n': 'hi bad win ok"',
    'at,text\n5/1/24 9:00,hi\n5/1/24 9:01,"oh\n5/2/24 10:07,win\n5/11/24 7:00,ok"\n': 'hi bad win ok"',
    "kind,text\n" + "a,x\nb,y\n" * 3 + 'a,"x\nb,y\na,x"\n': 'y bad y x"',
    "label,text\n" + 1_100 * "Legit,a\n" + 'Phish,"m\nPhish,x\nPhish,m 5"\n': 'a bad x m 5"',  # sorted: it comes late
}


def test_a_mark_that_swallows_rows_is_found_by_labels_and_by_numbers(write):
    for content, expected in SWALLOWED.items():
        found = ["bad" if "swallows" in text else text for text in texts(write(content))]
        assert " ".join(found).endswith(expected), content


LETTER = "Dear Jo,\r\nhow are you, today?\r\n\r\nYours, Al"
MAILS = [  # as in public collections: commas, quotations, and lines that end in the other columns
    f'Dear {n}, all\n\nthanks , bye\n"As I, or you, said", he said\n> no, never, he wrote\nYours, X{n}'
    for n in range(60)
]
ROWLIKE = ["Hi Jo ,\nall is well , 1\n1 , 2 and 3\nhow are you ?\nbye", "hey ,\nhow are you ?\nbye"]
ROWLIKE += ["so\n\nit is dry , 0\nhere"]
STORIES = [*MAILS[:30], 'Stories:\n"Fritz, after the machine made a mistake",mails\nFritz,again,mails\nBye']
MIXED = [*HAM, LETTER, *MAILS, 'He said "win"\n2, or 3\nhelp']
WHOLE = {
    "label text": [(("ham", "spam")[at % 2], mail) for at, mail in enumerate(MIXED)],
    "label text source": [("ham", mail, "mails") for mail in STORIES],
    "text label source": [(mail, "ham", "mails") for mail in MAILS],
    "id text label": [(at, mail, "ham") for at, mail in enumerate(MAILS)],
    "text label": [(mail, at % 2) for at, mail in enumerate(ROWLIKE)],
    "class text": [(at % 2, mail) for at, mail in enumerate(ROWLIKE)],
    "class text note": [(at % 2, mail, "x" * (at % 2)) for at, mail in enumerate(ROWLIKE * 9)],
    "id\nnumber,text": [(1, "a\n\nb, c")],
}


@pytest.mark.parametrize("header", WHOLE)
def test_lines_of_a_mail_are_no_rows(write, header):
    columns, rows = header.split("," if "," in header else " "), WHOLE[header]
    for delimiter in ",;|\t":
        assert texts(write(table(rows, columns, delimiter))) == [row[columns.index("text")] for row in rows]
        assert texts(write(table([(mail, "ham") for mail in MAILS], None, delimiter))) == MAILS


# --- Labels ---


def test_0_may_be_spam(read):
    inverted = with_labels("1", "0")
    assert read(inverted)[0] == [(text, not is_spam) for text, is_spam in LABELLED]
    assert read(inverted, labels=("spam", "ham"))[0] == LABELLED
    assert read(table(), labels=("spam", "ham"))[0] == LABELLED  # words stay what they are


CHOICES = [
    ("legit", "spam", "--labels=legit,spam"),
    ("-1", "1", "--labels=-1,1"),
    ("0.00", "1.00", "--labels=0.00,1.00"),
    ("no", "yes", "--labels=no,yes or --labels=yes,no"),
    ("Safe Email", "Phishing Email", "--labels='phishing email,safe email' or --labels='safe email,phishing email'"),
    ("\u0434\u0430", '"no"', """--labels='"no",\u0434\u0430' or"""),
    ("1", "2", "--labels="),
]


def test_other_labels_are_named_and_can_be_given(read):
    for ham, spam, choice in CHOICES:
        with pytest.raises(BadData, match="Say which is looked for, the second one here") as caught:
            read(with_labels(ham, spam))
        assert choice in str(caught.value)
        assert read(with_labels(ham, spam), labels=(ham.lower(), spam.lower()))[0] == LABELLED
    with pytest.raises(BadData, match="line 2: label 'toxic' is unknown. The labels are toxic 1. Two are needed"):
        read("label,text\ntoxic,y\n")
    with pytest.raises(BadData, match="line 4: label 'rude' is unknown.*the words to use are ok and toxic"):
        read("label,text\nok,x\nToxic,y\nrude,z\n", labels=("ok", "toxic"))


def test_what_is_left_out_or_cut_is_counted_and_said(read):
    mails = [("ham", "x" * 10_000 + str(number)) for number in range(3)]
    rows = [*ROWS, ("", "whose"), ("ham", " "), ("spam", ""), ("ham", "nul\x00nul"), *mails]
    found, said = read(table(rows))
    assert len(found) == len(ROWS) + 3
    assert "in.csv: 3 rows with more than 10,000 characters, cut there (first in line 12)" in said
    assert "in.csv: 1 row with no label, left out (first in line 8)" in said
    assert "in.csv: 2 rows with no text, left out (first in line 9)" in said
    assert "in.csv: 1 row with no valid text, left out (first in line 11)" in said


UNUSABLE = [
    (table(header=("text", "Text ")), "in.data names the column text twice"),
    (table([row[:1] for row in ROWS]), "line 2: The row has 1 field where the header has 2"),
    (table() + "ham,x\nsapm,y\n", "line 9: label 'sapm' is unknown. The labels are ham 4, spam 3, sapm 1"),
    (table([*ROWS, ("\x1b[31mspam", "y")]), "line 8: label '.\\[31mspam' is unknown"),
    (with_labels("a\x07", "b\ud83d").encode("utf-16", "surrogatepass"), "--labels='a.,b.' or --labels='b.,a.'"),
    ("label,text\nham,x,\x1b[31my\n", "line 2: The row has 3 fields.* What is too much: .\\[31my$"),
    (table(header=("\x1b[31m", "t")), "no column text"),
    (table([(f"Email {n}", n % 3, n % 2) for n in range(9)], ("No.", "text", "label")), 'column "text" holds numbers'),
    (table() + 'ham,"Could you come?\nspam,win\n', "line 8: The row has a quotation mark that is not closed"),
    ('label,text\nham,"He said \\"hi\\", then"\n', 'line 2: The row has a quotation mark .*one is written "", not'),
    (table(header=("kind", "text")), "no column label or v1.* among kind, text; name it with --label-column"),
    (table(header=("label", "words")), "no column text or message.* among label, words; name it with --text-col"),
    ("", "is empty"),
    (b"PK\x03\x04\x14\x00\x06\x00[Content_Types].xml", "is an Excel file: save it as CSV"),
    (b"PK\x03\x04\x14\x00\x06\x00in.csv", "is a ZIP archive: unpack it first"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Excel file: save it as CSV"),
    (b"\x80\x04\x95.\x00", "is a Python pickle"),
    (table().encode("utf-16-le"), "is no text file; if it is UTF-16, save it as UTF-8"),
    (gzip.compress(gzip.compress(table().encode())), "is compressed, but not once by gzip"),
    ("text\n".encode("utf-16-be") + "你好".encode("utf-16-be") * 99, "is no text file"),
    (TSV.encode("utf-16")[:-1], "is not complete"),
    ('{"label": "ham", "text": "x"}\n{"label": "ham", "Text": "x"}\n', "names the column text twice"),
    (json.dumps({"label": {"0": "ham"}, "text": {"0": "x"}}), "to_json"),
    (json.dumps([{"label": "ham", "text": "x"}] * 9, indent=1), "no JSON object in its first lines"),
    (json.dumps([{"label": "ham", "text": "x"}] * 9).replace("}, ", "},\n"), "no JSON object in its first lines"),
    (json.dumps({"data": [{"label": "ham", "text": "x"}]}), "no JSON object in its first lines"),
    (gzip.compress(table().encode() * 99, mtime=0)[:99], "is not complete"),
    (b"%PDF-1.4\n%\xe2\xe3", "is a PDF"),
    ('<table border="1"><tr><td>text</td></tr></table>', "is a web page or XML"),
    ("From jo@example.org Mon Jul 29 11:28:02 2002\nSubject: hi\n\nhello\n", "is a mail: put mails into a CSV"),
    ("From: Jo Doe <jo@example.org>\nTo: al@example.org\nSubject: hi\n\nhello\n", "is a mail"),
    ("MIME-Version: 1.0\nSubject: hi\n\nhello\n", "is a mail"),
    (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, "is no text file"),
    ("label^text\nham^x\n", "the first line, label.text, is one column; divide it by"),
    ('"label,text"\n"ham,""x, y"""\n', "the first line, label,text, is one column"),
    (table() + "\ufeff" + table(), "line 8: The row is the header again"),
    ('{"label": "ham"}', "no column text"),
    ("," * 500_001 + "text\n", "has 500,002 columns, and at most 1,000 are read"),
    ("," * 1_100_000 + "text\n", "line 1: The row has more than 1,048,576 characters"),
    (f"ham,at six?{',' * 5_000}\nspam,win now{',' * 5_000}\n" * 9, "has 5,002 columns, and at most 1,000"),
]


def test_what_cannot_be_used_is_said(read):
    for content, why in UNUSABLE:
        with pytest.raises(BadData, match=why) as caught:
            read(content, "in.data")
        assert str(caught.value).isprintable()  # no control character of a file reaches the terminal


def test_a_pipe_is_not_trained_on_in_part(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadData, match="is a pipe, which can be read once only"):
        read_labelled(tmp_path / "pipe")


def test_json_lines_need_not_have_all_members(read):
    lines = [{"id": 1, "ID": 2}, *({"label": label, "text": text} for label, text in ROWS)]
    lines += [{"label": math.nan, "text": "x"}]
    lines += [{"label": "ham", "text": value} for value in (5, None, ["a"], {"a": "b"})]
    found, said = read("\n".join(map(json.dumps, lines)))
    assert found == LABELLED
    assert "2 rows with no label, left out (first in line 1)" in said
    assert "3 rows with no valid text, left out (first in line 9)" in said
    assert "1 row with no text, left out (first in line 10)" in said


def test_a_column_that_is_named_is_taken_else_the_first_usual_name(read, write):
    rows = [("x", text, label, "y") for label, text in ROWS]
    assert read(table(rows, header=("message", "TEXT", "Label", "class")))[0] == LABELLED
    rows = [("x", text, label) for label, text in ROWS]
    assert read(table(rows, header=("my_text", "My text", "label")), text_column="My text")[0] == LABELLED
    rows = [("x", label, "note", text) for label, text in ROWS]
    content = table(rows, header=("text", "Kind", "b;c", "My text"), delimiter=",")
    assert read(content, text_column="my TEXT", label_column="kind")[0] == LABELLED
    assert texts(write("label,text,label\nham,hi,ham\n")) == ["hi"]  # no label is asked for
    with pytest.raises(BadData, match='"My text" cannot hold both'):
        read(content, text_column="My text", label_column="My text")


def test_a_list_of_messages_needs_no_quotation_marks(write):
    for messages in (["hi", "you, too; and | him"], ['"OFFER" ends', '5" x 3", ok', '"', "she said", '"no, I"'] * 400):
        assert texts(write("\n".join(["Message", *messages]), "in.txt")) == messages
    assert texts(write('Message\n"you, too"\nhi\n"a\nb"\n')) == ["you, too", "hi", "a\nb"]
    assert "2 fields" in texts(write("Hello\nyou, too\n"))[0]  # what the columns are is not said
    assert texts(write('text\na\n""\n\n" "\n"b, c"\n')) == ["a", "", " ", "b, c"]  # an empty row, as pandas writes it
    assert texts(write('text\na\n"b"\n c, d\n')) == ["a", '"b"', " c, d"]  # no program puts marks there alone


# --- Parquet ---


def parquet(tmp_path, pa, columns):
    path = tmp_path / "in.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    return path


def test_parquet_has_many_types_for_text_and_labels(tmp_path, pa):
    labels, texts_ = pa.array([label for label, _ in ROWS]), pa.array([text for _, text in ROWS])
    kinds = [texts_.cast(getattr(pa, kind)()) for kind in ("string", "large_string", "string_view", "binary")]
    windows = pa.array([text.encode("cp1252") for _, text in ROWS])
    unchecked = pa.Array.from_buffers(pa.string(), len(windows), windows.buffers())  # as other programs write it
    for converted in (*kinds, texts_.dictionary_encode(), windows, unchecked, unchecked.dictionary_encode()):
        path = parquet(tmp_path, pa, {"label": labels, "text": converted})
        assert texts(path) == [text for _, text in ROWS]
        assert [(one.text, one.is_spam) for one in read_labelled(path).examples] == LABELLED
    for kind in (labels.dictionary_encode(), [label == "spam" for label, _ in ROWS], [float(s) for _, s in LABELLED]):
        path = parquet(tmp_path, pa, {"text": [text for _, text in ROWS], "label": kind})
        assert [(one.text, one.is_spam) for one in read_labelled(path).examples] == LABELLED


def test_parquet_that_has_no_text(tmp_path, pa):
    assert texts(parquet(tmp_path, pa, {"text": [1, 2], "n": ["a", "b"]})) == [1, 2]  # which batch says are no strings
    assert texts(parquet(tmp_path, pa, {"text": pa.array([None, None], pa.null())})) == [None, None]
    with pytest.raises(BadData, match="no column text"):
        texts(parquet(tmp_path, pa, {"label": ["ham", "spam"], "n": [1, 2]}))


# --- Bounds ---


def test_a_row_that_is_too_long_is_one_bad_row(write, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST_ROW", 1_000)
    path = write("id,text\n1,a\n2," + "b" * 5_000 + '\n3,c\n4,"' + "d\n" * 900 + "5,e\n")
    found = texts(path)
    assert found[:3] == ["a", lines.TOO_LONG, "c"]
    assert "not closed" in found[3]
    assert found[-1] == "e"


# --- Copies ---

RUSSIAN = ["Приду в 18:30", "Ваш код 4821", "Скидка 50% до 31.12", "Такси в 7:15", "Баланс 120 р", "Встреча в 9:00"]


def test_different_messages_of_other_scripts_are_no_copies():
    both = [Example(text, False, "") for text in [*RUSSIAN, *HAM, *SPAM, "今天 18:30", "明天 18:30", "18:30", "4821"]]
    assert len(drop_copies(both)) == len(both)
    assert data.loose("Приду в 18:30") == ""
    assert data.loose("Caf\xe9, d\xe9j\xe0 vu!") == "cafdjvu"  # a copy in a broken encoding is one still
    assert len(drop_copies([Example("Win £500 now!", True, ""), Example("win Â£500 now", True, "")])) == 1
