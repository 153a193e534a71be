"""Any two-class text model: its own words at every door, and Pipelines that are no sum of terms."""

import csv
import datetime as dt
import html
import json
import os
import re
import shutil
import sys

import pytest
from conftest import PASSWORD, SHIPPED, messages, use_models
from openapi_spec_validator import validate
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline
from test_import import DATA, TEXTS, URGENT, WORDS

from webapp.config import ROOT
from webapp.errors import BadData, ModelUnusable
from webapp.extras.review.samples import draw
from webapp.extras.stream.handler import Record, prediction
from webapp.model import artifact, training
from webapp.model.data import Example, read_labelled
from webapp.model.labels import Labels, read_labels
from webapp.model.own_model import fit_with, load_recipe

NORMAL = "Could you please tell me the opening hours of the library over the holidays?"
INNER_WORDS = re.compile(r"\b(spam|ham)\b", re.IGNORECASE)
RECIPE = re.search(r"```python\n((?!# train).*?)```", (ROOT / "docs" / "own_model.md").read_text(), re.DOTALL)[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A models folder with naive Bayes that tells urgent from normal."""
    folder = tmp_path_factory.mktemp("urgent")
    trained = training.train([read_labelled(DATA, labels=("normal", "urgent"))], own_fit=fit_bayes)
    now = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    version = artifact.save(folder, trained.pipeline, trained.card, "joblib", now, trained.learnt)
    (folder / "current").write_text(version)
    return folder


@pytest.fixture
def urgent_app(saved, app):
    use_models(app, saved)
    return app


def fit_bayes(examples, weights):
    return training.fit(examples, weights, make_pipeline(TfidfVectorizer(), MultinomialNB(alpha=0.1)))


def words_of(page):
    """Return what people see or hear of a page."""
    said = re.findall(r'(?:title|aria-label)="([^"]*)"', page)
    shown = re.sub(r"<script.*?</script>|<[^>]*>", " ", page, flags=re.DOTALL)
    return html.unescape(" ".join([shown, *said]))


# --- The words at the doors ---


def test_after_a_switch_no_page_speaks_of_spam_or_ham(saved, models, app, client, flask):
    """Templates that were rendered before, imported macros too, say the words of what is served now."""
    client.post("/login", data={"password": PASSWORD})
    pages = ["/", "/review", "/review?queue=all", "/review?queue=uncertain", "/models", "/models/compare", "/api/docs"]
    said = [client.get(page).text for page in pages]
    assert "<h1>Ham or spam?</h1>" in said[0]
    assert "Spam probability" in client.post("/", data={"text": URGENT}, follow_redirects=True).text
    urgent = (saved / "current").read_text()
    shutil.copytree(saved / urgent, models / urgent)
    app.extensions["inference"].registry.use(urgent)
    form = client.get("/").text
    assert "<h1>Normal or urgent?</h1>" in form
    assert "data-example" not in form  # they are about prizes and parcels
    for text, heading in ((URGENT, "Likely urgent"), (NORMAL, "Likely normal")):
        answer = client.post("/", data={"text": text}, follow_redirects=True)
        assert heading in words_of(answer.text)
        assert "Urgent probability" in answer.text
        assert '<mark class="' in answer.text
        assert not INNER_WORDS.search(words_of(answer.text))
    exported = [json.loads(line)["label"] for line in flask("log", "export", "--format", "jsonl").stdout.splitlines()]
    assert exported == ["ham", "urgent", "normal"]  # each in the words of its version
    flask("log", "purge", "--older-than", "0d")  # from here on all is of the new one
    shutil.rmtree(models / SHIPPED)
    id_ = client.post("/", data={"text": URGENT}).location.rpartition("/")[2]
    client.post("/review/sample", data={"size": 1, "days": 1})
    review = client.get("/review").text
    assert re.findall(r'value="(\w+)" data-key="(\w)"', review) == [("spam", "1"), ("ham", "2"), ("unsure", "u")]
    form = {"prediction_id": id_, "true_label": "spam", "queue": "random"}
    assert "Saved: urgent" in client.post("/review", data=form, follow_redirects=True).text
    for page in [*pages, f"/review?queue=all&id={id_}", "/monitor", "/batch", f"/predictions/{id_}"]:
        answered = client.get(page)
        assert answered.status_code == 200
        assert not INNER_WORDS.search(words_of(answered.text)), page
    assert '<option value="spam" selected>urgent</option>' in client.get("/review?queue=all&label=spam").text


def test_neither_do_pages_about_two_versions_that_differ(signed_in, urgent_app, tmp_path):
    shutil.copytree(urgent_app.extensions["inference"].registry.folder, tmp_path / "models")
    registry = use_models(urgent_app, tmp_path / "models")
    first = registry.current_version()
    card = artifact.read_card(registry.folder, first).model_copy(update={"threshold": 1.0})  # calls everything normal
    reference = artifact.verify(registry.folder, first).learnt
    now = dt.datetime(2026, 2, 3, tzinfo=dt.UTC)
    second = artifact.save(registry.folder, registry.current().pipeline, card, "joblib", now, reference)
    registry.challenger.write(second)
    ids = [signed_in.post("/api/v1/predict", json={"text": text}).json["id"] for text in (URGENT, NORMAL)]
    signed_in.post("/review/sample", data={"size": 2, "days": 1})
    queue = signed_in.get("/review?queue=challenger").text
    for id_ in ids:
        signed_in.post("/review", data={"prediction_id": id_, "true_label": "spam", "queue": "random"})
    compared = signed_in.get(f"/models/compare?first={first}&second={second}").text
    assert "A message on which they differ" in compared
    for page in (queue, compared, signed_in.get("/models").text, signed_in.get("/review?queue=challenger").text):
        assert not INNER_WORDS.search(words_of(page))


def test_the_api_answers_and_takes_the_words(urgent_app, client, key, flask):
    first = client.post("/api/v1/predict", json={"text": URGENT}).json
    assert first["label"] == "urgent"
    assert first["spam_probability"] >= first["threshold"]
    both = client.post("/api/v1/predict/batch", json={"texts": [URGENT, NORMAL]}).json["predictions"]
    assert [one["label"] for one in both] == ["urgent", "normal"]
    address = f"/api/v1/predictions/{first['id']}"
    assert client.get(address).json["label"] == "urgent"
    for word in ("normal", "unsure", "urgent"):
        given = client.put(f"{address}/review", json={"true_label": word}, headers=key)
        assert given.json["true_label"] == word
    for word in ("spam", "ham", "Urgent", ""):
        refused = client.put(f"{address}/review", json={"true_label": word}, headers=key)
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "true_label")
        assert "normal, urgent, unsure" in refused.json["detail"]
    listed = client.get("/api/v1/predictions?label=urgent&reviewed=true", headers=key).json["predictions"]
    assert [(one["label"], one["true_label"]) for one in listed] == [("urgent",) * 2]
    assert len(client.get("/api/v1/predictions?label=normal", headers=key).json["predictions"]) == 1
    assert client.get("/api/v1/predictions?label=spam", headers=key).status_code == 422
    assert 'hamlet_predictions_total{label="spam"' in client.get("/metrics").text  # as in the log
    document = client.get("/api/openapi.json").json
    validate(document)
    assert "normal or urgent" in document["info"]["description"]
    for schema in document["components"]["schemas"].values():  # a field keeps its name, such as spam
        assert set(schema.get("required", ())) <= set(schema["properties"])
    assert json.loads(flask("openapi").output) == document


def test_monitoring_counts_the_words_as_its_two_classes(urgent_app, client, signed_in, key):
    now, hour = dt.datetime.now(dt.UTC), dt.timedelta(hours=1)
    truth = {
        client.post("/api/v1/predict", json={"text": text}).json["id"]: word
        for word, text in zip(WORDS[:60], TEXTS, strict=False)
    }
    draw(urgent_app.extensions["engine"], now - hour, now + hour, 60, seed=1)
    stored = {"urgent": "spam", "normal": "ham"}
    for id_, word in truth.items():
        signed_in.post("/review", data={"prediction_id": id_, "true_label": stored[word], "queue": "random"})
    figures = client.get("/api/v1/monitoring?range=24h", headers=key).json
    assert figures["accuracy"]["reviewed"] == 60
    assert figures["accuracy"]["accuracy"]["value"] > 0.9  # it has learnt them
    assert figures["traffic"]["called_spam"] == pytest.approx(30, abs=4)
    assert {test["state"] for test in figures["drift"]["tests"]} != {"too few messages to say"}
    page = words_of(signed_in.get("/monitor?range=24h").text)
    for shown in ("Urgent caught", "Normal called urgent", "is normal", "messages were called normal and urgent"):
        assert shown in page
    explained = [figures["verdict"], [test["explanation"] for test in figures["drift"]["tests"]]]
    assert not INNER_WORDS.search(re.sub(r"For example.*", "", page) + json.dumps(explained))


def test_commands_files_and_streams_use_the_words(urgent_app, flask, tmp_path):
    assert flask("predict", URGENT).output.startswith("urgent ")
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f'text\n"{URGENT}"\n"{NORMAL}"\n')
    result = flask("batch", source, target)
    assert "2 rows: 1 urgent, 1 normal, 0 with an error" in result.stderr
    with target.open(newline="") as file:
        scored = list(csv.DictReader(file))
    assert [row["label"] for row in scored] == ["urgent", "normal"]

    truth = tmp_path / "truth.csv"
    truth.write_text(f"id,true_label\n{scored[0]['prediction_id']},urgent\n{scored[1]['prediction_id']},unsure\n")
    assert "2 new" in flask("review", "import", truth).output
    truth.write_text(f"id,true_label\n{scored[0]['prediction_id']},spam\n")
    assert "an id and urgent, normal or unsure" in flask("review", "import", truth).stderr
    exported = [json.loads(line) for line in flask("log", "export", "--format", "jsonl").stdout.splitlines()]
    assert [row["label"] for row in exported] == ["urgent", "urgent", "normal"]
    assert "called urgent" in flask("monitor").output

    inference = urgent_app.extensions["inference"]
    row = inference.predict([URGENT], "stream")[0]
    record = Record("messages", 0, 0, 0, None, URGENT.encode(), [])
    sent = prediction(record, row, inference.registry.labels(), "predictions")
    assert json.loads(sent.value)["label"] == "urgent"


def test_an_answer_is_in_the_words_of_the_version_that_gave_it(saved, models, app, client):
    registry = app.extensions["inference"].registry
    urgent = (saved / "current").read_text()
    shutil.copytree(saved / urgent, models / urgent)
    app.extensions["inference"].before_store.append(lambda *_: registry.use(urgent))
    for path, sent in (("predict", {"text": URGENT}), ("predict/batch", {"texts": [URGENT]})):
        answer = client.post(f"/api/v1/{path}", json=sent).json
        row = answer if path == "predict" else answer["predictions"][0]
        assert (row["model_version"], row["label"] in ("spam", "ham")) == (SHIPPED, True)
        assert registry.labels() == Labels("normal", "urgent")
        registry.use(SHIPPED)


def test_labels_that_cannot_be_used_are_refused():
    for text in ("urgent", "a,b,c", "a,a", ",a", "spam,eggs", "eggs,ham", "a,unsure", f"a,{'b' * 31}", "a,b\x07"):
        with pytest.raises(BadData):
            read_labels(text)


# --- One's own recipe ---


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Write a module of one's own into the working directory; return how --pipeline names its function."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(code, name="my_recipe"):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return f"{name}:make_pipeline"

    return write


def test_the_two_ways_of_the_documentation_work(flask, models, client, recipe):
    for own in ([], ["--pipeline", recipe(RECIPE)]):
        result = flask("train", DATA, "--labels", "normal,urgent", *own, "--use")
        assert result.exit_code == 0, result.output
        assert "The labels are normal and urgent; urgent is the one that is looked for." in result.output
        assert "urgent caught" in result.output
        assert "normal called urgent" in result.output
        assert not INNER_WORDS.search(result.output)
        assert client.post("/api/v1/predict", json={"text": URGENT}).json["label"] == "urgent"
        assert "has learnt 227 of these 227 messages" in flask("evaluate", DATA).stderr
    card = artifact.read_card(models, (models / "current").read_text().strip())
    assert (card.pipeline, card.labels) == ("my_recipe:make_pipeline", ("normal", "urgent"))


HEAD = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline as pipe
from sklearn.svm import LinearSVC

class Zeros(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        if set(y) != {0, 1}:
            raise ValueError(f"Expected classes [0 1], got {sorted(set(y))}")

class Missing(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self
    def predict_proba(self, X):
        return np.full((X.shape[0], 2), np.nan)
"""
MODULE = "A module of yours must lie beside wsgi.py"
TFIDF, BAYES = "TfidfVectorizer()", "MultinomialNB()"
LAMBDA = "make_pipeline = pipe(CountVectorizer(tokenizer=lambda s: s.split()), MultinomialNB())"
RECIPES = [
    ("def make_pipeline(): return 7", "gives no sklearn.pipeline.Pipeline, but a int"),
    ("def make_pipeline(): return MultinomialNB()", "a Pipeline begins with a vectoriser"),
    ("def make_pipeline(): 1 / 0", "ZeroDivisionError"),
    ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
    ("something = 1", "has no attribute 'make_pipeline'"),
    ("make_pipeline = pipe(CountVectorizer(), LinearSVC())", "LinearSVC gives no probabilities"),
    (LAMBDA, "Write a lambda"),
    ("make_pipeline = pipe(TfidfVectorizer(), MultinomialNB(alpha=-1))", "cannot be fitted (InvalidParameterError"),
    ("make_pipeline = pipe(TfidfVectorizer(), Zeros())", "y holds the words 'ham' and 'spam'"),
    (f'make_pipeline = pipe(ColumnTransformer([("t", {TFIDF}, "text")]), {BAYES})', "X is a list of str"),
    (f"make_pipeline = pipe({TFIDF}, Missing())", "not from 0 to 1"),
    (
        f'make_pipeline = pipe({TFIDF}, GridSearchCV({BAYES}, {{"alpha": [1, 9]}}, cv=2, scoring="f1"))',
        "make_scorer(f1_score, pos_label='spam')",
    ),
]


def test_a_recipe_that_cannot_be_used_gets_one_clear_line(flask, models, labelled, recipe):
    before = sorted(models.iterdir())
    with pytest.raises(BadData, match="Write a lambda"):  # before the fit
        load_recipe(recipe(HEAD + LAMBDA))
    for code, reason in RECIPES:
        result = flask("train", labelled, "--pipeline", recipe(HEAD + code))
        assert (result.exit_code, reason in result.stderr) == (2, True), result.stderr
        assert (MODULE in result.stderr) == ("No module" in reason)  # that is no help for any other mistake
        assert len([line for line in result.stderr.splitlines() if line.startswith("Error")]) == 1
    for name in ("my_recipe", "a:b c", ":f"):
        assert "write it as module:function" in flask("train", labelled, "--pipeline", name).stderr
    assert sorted(models.iterdir()) == before


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_recipe_may_be_a_pipeline_or_a_search(recipe):
    examples = [Example(text, label == "spam", "file") for label, text in messages(60)]
    for code in (
        "make_pipeline = pipe(TfidfVectorizer(), MultinomialNB())",
        'make_pipeline = GridSearchCV(pipe(TfidfVectorizer(), MultinomialNB()), {"multinomialnb__alpha": [1]}, cv=2, '
        'scoring=["accuracy", "roc_auc"], refit="accuracy")',
        'def make_pipeline(): return pipe(TfidfVectorizer(), GridSearchCV(MultinomialNB(), {"alpha": [1, 2]}, cv=2))',
        "make_pipeline = pipe(TfidfVectorizer(), LogisticRegression(max_iter=1))",  # which warns
        'make_pipeline = VotingClassifier([("one", pipe(TfidfVectorizer(), MultinomialNB()))], voting="soft")',
    ):
        fit = fit_with(recipe(HEAD + code))
        pipeline = fit(examples, {})
        assert type(pipeline) is Pipeline
        assert not hasattr(pipeline[-1], "best_estimator_")
        assert fit(examples, {}) is not pipeline  # each fit is of its own
    fitted = 'make_pipeline = pipe(TfidfVectorizer(), MultinomialNB()).fit(["a cat", "a dog"], ["ham", "spam"])'
    assert not hasattr(load_recipe(recipe(HEAD + fitted))[-1], "classes_")  # a warm start goes on from it


OWN_CLASS = """
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from test_import import DATA, TEXTS, URGENT, WORDS

class Louder(TransformerMixin, BaseEstimator):
    def fit(self, texts, y=None): return self
    def transform(self, texts): return [text.upper() for text in texts]

def make_pipeline():
    return Pipeline([("louder", Louder()), ("words", CountVectorizer()), ("near", KNeighborsClassifier(3))])
"""


@pytest.mark.real_load
def test_nothing_is_served_or_tried_that_a_new_server_could_not_load(flask, models, labelled, recipe, client):
    """The module lies in the working directory of the command, where no server looks, and is loaded here."""
    name = recipe(OWN_CLASS, "own_class")
    weighed = flask("train", labelled, "--pipeline", name, "--weight", "labelled", "2")
    assert "KNeighborsClassifier cannot weigh" in weighed.stderr
    assert flask("train", labelled, "--pipeline", name).exit_code == 0
    version = max(path.name for path in models.iterdir() if path.is_dir())
    assert artifact.load(models, version).spam_probabilities(["WIN a free train!!!"]) == [1.0]
    client.post("/login", data={"password": PASSWORD})
    used = words_of(client.post("/models/use", data={"version": version}).text)
    for answer in (used, flask("models", "challenge", version).output):
        assert "No module named 'own_class'" in answer
        assert "served now" not in answer
    assert (models / "current").read_text().strip() == SHIPPED
    assert not (models / "challenger").exists()
    assert flask("models", "history").output == ""
    del sys.modules["own_class"]
    os.remove("own_class.py")
    with pytest.raises(ModelUnusable, match=r"No module named 'own_class'.*beside wsgi.py"):
        artifact.load(models, version)


@pytest.mark.real_load
def test_a_model_that_ends_the_process_is_refused_too(models, monkeypatch):
    (models / "sitecustomize.py").write_text("import os; os._exit(9)")
    monkeypatch.setenv("PYTHONPATH", str(models))
    with pytest.raises(ModelUnusable, match="ends the process that loads it .exit status 9."):
        artifact.try_load(models, SHIPPED)
