"""Bring your own model: `flask models import` of what a tutorial has left, and what is said where it cannot be."""

import csv
import hashlib
import pickle
import re
import sys

import joblib
import pandas as pd
import pytest
import sklearn
from conftest import PASSWORD, need_module
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from test_model_files import Planted

from webapp.config import ROOT
from webapp.errors import BadData
from webapp.extras.lifecycle.retraining import fine_tune
from webapp.model import artifact
from webapp.model.data import Example
from webapp.model.labels import Labels
from webapp.model.own_model import unwrap
from webapp.model.scoring import make_model

DATA = ROOT / "docs" / "examples" / "urgent.csv"
URGENT = "Water is dripping onto the fuse box right now, please send someone immediately, come at once"
with DATA.open(newline="") as _file:
    ROWS = list(csv.DictReader(_file))
TEXTS, WORDS = [row["text"] for row in ROWS], [row["label"] for row in ROWS]
NUMBERS = [int(word == "urgent") for word in WORDS]


@pytest.fixture
def bring(flask):
    """Import files: bring(path, "--yes", code=0) returns what the command said."""

    def run(*words, code=0):
        result = flask("models", "import", *words)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.output

    return run


def fitted(classifier, y=WORDS, **options):
    return make_pipeline(TfidfVectorizer(**options), classifier).fit(TEXTS, y)


def dump(path, model):
    path.write_bytes(pickle.dumps(model))
    return path


def newest(models):
    return max(path.name for path in models.iterdir() if path.is_dir())


def test_nothing_is_run_without_yes(models, tmp_path, bring):
    path = dump(tmp_path / "model.pkl", Planted(tmp_path / "trace"))
    before = sorted(models.iterdir())
    said = bring(path, code=2)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in said
    assert "runs the code in it" in said
    assert "--yes" in said
    assert not (tmp_path / "trace").exists()
    assert sorted(models.iterdir()) == before
    bring(path, "--yes", code=2)  # no classifier; but it ran
    assert (tmp_path / "trace").exists()


def clean(text):
    return text.lower()


REFUSED = [
    (lambda: MultinomialNB().fit([[1], [2]], [0, 1]), "give the fitted vectoriser"),
    (lambda: TfidfVectorizer().fit(TEXTS), "model.pkl: TfidfVectorizer. Give one fitted model"),
    (lambda: make_pipeline(TfidfVectorizer(), BernoulliNB()), "is not fitted"),
    (lambda: fitted(LinearSVC()), "CalibratedClassifier"),
    (lambda: fitted(VotingClassifier([("one", MultinomialNB())])), "voting='soft'"),
    (lambda: fitted(Ridge(), NUMBERS), "take LogisticRegression"),
    (lambda: fitted(DecisionTreeClassifier(), [[n, n] for n in NUMBERS]), "two classes"),
    (lambda: fitted(MultinomialNB(), [i % 3 for i in range(227)]), "two classes"),
    (lambda: fitted(MultinomialNB(), ["ab"[i] for i in NUMBERS]), "--labels=a,b or --labels=b,a"),
    (lambda: fitted(MultinomialNB(), [("spam", "ok")[i] for i in NUMBERS]), "the second one here: --labels=ok,spam."),
    (lambda: fitted(MultinomialNB(), [("unsure", "ok")[i] for i in NUMBERS]), "cannot be labels: take others"),
    (lambda: Pipeline([("nb", MultinomialNB().fit([[1], [2]], [0, 1]))]), "list of str"),
    (lambda: fitted(MultinomialNB(alpha=0)), "no answer for many messages: fit it with alpha=0.1"),
    (lambda: fitted(MultinomialNB(class_prior=[1, 0])), "no class_prior of 0"),
    (lambda: fitted(FixedThresholdClassifier(MultinomialNB(), threshold=0.3)), "and say --threshold"),
    (lambda: [MultinomialNB(), MultinomialNB()], "model.pkl: MultinomialNB, MultinomialNB. Give one"),
    (
        lambda: [CountVectorizer(), TfidfTransformer(), MultinomialNB()],
        "are one as make_pipeline(vectorizer, transformer)",
    ),
    (lambda: pd.DataFrame({"text": TEXTS}), "model.pkl: DataFrame. Give one"),
]


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_what_cannot_be_served_gets_one_line_that_says_what_to_do(models, tmp_path, bring):
    for make, reason in REFUSED:
        said = bring(dump(tmp_path / "model.pkl", make()), "--yes", code=2)
        assert reason in said
        assert len(said.splitlines()) == 1
    assert len(list(models.glob("2*"))) == 1


class SpamFilter:
    """A class of one's own, which scikit-learn takes for no estimator."""

    def __init__(self, vectorizer, model):
        self.vectorizer, self.model, self.classes_ = vectorizer, model, model.classes_

    def predict(self, texts):
        return self.model.predict(self.vectorizer.transform(texts))

    def predict_proba(self, texts):
        return self.model.predict_proba(self.vectorizer.transform(texts))


def test_any_shape_in_which_a_fitted_model_is_saved(models, tmp_path, bring):
    vectorizer = TfidfVectorizer()
    numbers = vectorizer.fit_transform(TEXTS)
    bayes, gauss = MultinomialNB().fit(numbers, NUMBERS), GaussianNB().fit(numbers.toarray(), NUMBERS)
    whole = fitted(MultinomialNB(), NUMBERS)
    vote = VotingClassifier([("one", whole), ("other", whole)], voting="soft").fit(TEXTS, NUMBERS)
    search = GridSearchCV(whole, {"multinomialnb__alpha": [0.1, 1]}, cv=3).fit(TEXTS, NUMBERS)
    files = [(vectorizer, bayes), [bayes, vectorizer], {"model": bayes, "tfidf": vectorizer, "f1": 0.9}]
    files.append(SpamFilter(vectorizer, bayes))
    saved = [(file, [], bayes, numbers) for file in files] + [(model, [], model, TEXTS) for model in (vote, search)]
    tfidf = dump(tmp_path / "tfidf.pkl", vectorizer)
    for file, options, model, values in [*saved, (gauss, ["--vectorizer", tfidf], gauss, numbers.toarray())]:
        joblib.dump(file, tmp_path / "model.joblib")
        said = bring(tmp_path / "model.joblib", *options, "--yes")
        served = artifact.load(models, re.search(r"Saved .*/(\S+)", said)[1])
        assert type(served.pipeline) is Pipeline
        assert served.spam_probabilities(TEXTS) == pytest.approx(model.predict_proba(values)[:, 1])


def test_where_0_is_spam_labels_say_so(models, tmp_path, bring):
    """Some tutorials number spam 0 and ham 1."""
    pipeline = fitted(MultinomialNB(), [1 - number for number in NUMBERS])
    path, data = dump(tmp_path / "model.pkl", pipeline), tmp_path / "rows.csv"
    words = ["spam" if number else "ham" for number in NUMBERS]
    data.write_text("label,text\n" + "".join(f'{a},"{b}"\n' for a, b in zip(words, TEXTS, strict=True)))
    assert "WARNING: nearly all verdicts are the opposite" in bring(path, "--yes", "--measure", data)
    said = bring(path, "--yes", "--labels", "spam,ham", "--measure", data)
    assert "WARNING" not in said
    model = artifact.load(models, version := re.search(r"Saved .*/(\S+)", said)[1])
    assert model.labels == Labels("ham", "spam")
    score = model.score(URGENT)
    assert score.spam_probability == pytest.approx(pipeline.predict_proba([URGENT])[0, 0])
    assert score.contributions["water"] > 0
    assert artifact.read_card(models, version).held_out.accuracy.value > 0.95


def test_files_that_do_not_belong_together(models, tmp_path, bring):
    tfidf = TfidfVectorizer().fit(TEXTS)
    vectorizer = dump(tmp_path / "vectorizer.pkl", tfidf)
    model = dump(tmp_path / "model.pkl", MultinomialNB().fit(tfidf.transform(TEXTS), NUMBERS))
    other = dump(tmp_path / "other.pkl", CountVectorizer(min_df=5).fit(TEXTS))
    unfitted = dump(tmp_path / "unfitted.pkl", TfidfVectorizer())
    whole = dump(tmp_path / "whole.pkl", fitted(MultinomialNB()))
    for words, reason in (
        ([model, "--vectorizer", other], "that it was trained with, saved after the same fit"),
        ([model, "--vectorizer", unfitted], "is not fitted"),
        ([model, "--vectorizer", whole], "whole.pkl: MultinomialNB, Pipeline. Give one"),
        ([whole, "--vectorizer", vectorizer, "--labels", "normal,urgent"], "leave --vectorizer out"),
        ([whole, "--labels", "ok,toxic"], "labels ok and toxic"),
    ):
        assert reason in bring(*words, "--yes", code=2)
    bring(vectorizer, "--vectorizer", model, "--yes")  # which of the two is which shows


def test_files_that_cannot_be_loaded(tmp_path, bring, monkeypatch):
    assert "No such file" in bring(tmp_path / "nowhere.pkl", "--yes", code=2)
    (tmp_path / "junk.pkl").write_bytes(b"hello")
    assert "pickle.dump, joblib.dump or skops.io.dump" in bring(tmp_path / "junk.pkl", "--yes", code=2)
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "clean", clean, raising=False)
    monkeypatch.setattr(clean, "__module__", "__main__")
    path = dump(tmp_path / "main.pkl", fitted(MultinomialNB(), preprocessor=clean))
    monkeypatch.delattr(main, "clean")
    assert "Move it into a module, say my_text.py beside wsgi.py" in bring(path, "--yes", code=2)


def test_another_scikit_learn_is_named_and_what_to_install(tmp_path, bring):
    pipeline = fitted(MultinomialNB())
    content = pickle.dumps(pipeline).replace(sklearn.__version__.encode(), b"1.2.9"[: len(sklearn.__version__)])
    (tmp_path / "old.pkl").write_bytes(content)
    said = bring(tmp_path / "old.pkl", "--yes", code=2)
    assert "saved with scikit-learn 1.2.9" in said
    assert f"pip install scikit-learn=={sklearn.__version__}" in said


def test_skops_needs_no_yes_and_no_foreign_type(models, tmp_path, bring):
    skops = need_module("skops.io", "pip install -r requirements-skops.txt")
    pipeline = fitted(MultinomialNB())
    skops.dump(pipeline, tmp_path / "model.skops")
    bring(tmp_path / "model.skops", "--labels", "normal,urgent")
    version = newest(models)
    assert artifact.read_card(models, version).model_file.format == "skops"
    probability = artifact.load(models, version).score(URGENT).spam_probability
    assert probability == pytest.approx(pipeline.predict_proba([URGENT])[0, 1])
    vectorizer = pipeline[0]
    skops.dump(GaussianNB().fit(vectorizer.transform(TEXTS).toarray(), NUMBERS), tmp_path / "gauss.skops")
    skops.dump(vectorizer, tmp_path / "tfidf.skops")
    bring(tmp_path / "gauss.skops", "--vectorizer", tmp_path / "tfidf.skops")  # saved with a step that skops lacks
    skops.dump(fitted(MultinomialNB(), preprocessor=clean), tmp_path / "own.skops")
    assert "types that Hamlet does not trust" in bring(tmp_path / "own.skops", code=2)
    # The shipped model says the same from such a file.
    shipped = artifact.load(models, (models / "current").read_text().strip())
    again = artifact.from_bytes(artifact.to_bytes(shipped.pipeline, "skops"), "skops")
    assert make_model(again, "again", 0.4).spam_probabilities(TEXTS[:20]) == shipped.spam_probabilities(TEXTS[:20])


CORRECTABLE = [
    make_pipeline(TfidfVectorizer(), MultinomialNB()),
    make_pipeline(CountVectorizer(), ComplementNB()),
    make_pipeline(TfidfVectorizer(), BernoulliNB()),
    make_pipeline(TfidfVectorizer(), LogisticRegression()),
    make_pipeline(HashingVectorizer(n_features=2**12), SGDClassifier(loss="log_loss", random_state=0)),
]


@pytest.mark.parametrize("pipeline", CORRECTABLE, ids=lambda pipeline: type(pipeline[-1]).__name__)
def test_any_linear_model_can_be_corrected(pipeline):
    for classes in (NUMBERS, WORDS):
        model = make_model(unwrap(clone(pipeline).fit(TEXTS, classes)), "v", 0.5, Labels("normal", "urgent"))
        same = make_model(fine_tune(model, [], dict.fromkeys(TEXTS, 1.0)), "v", 0.5)
        assert same.spam_probabilities(TEXTS) == pytest.approx(model.spam_probabilities(TEXTS), abs=1e-6)
        wrong = [Example(text, False, "reviews") for text in TEXTS if "water" in text.lower()]
        new = make_model(fine_tune(model, wrong, {}, weight=10), "v", 0.5)
        before, after = (one.spam_probabilities([example.text for example in wrong]) for one in (model, new))
        assert sum(after) < sum(before) / 2


def test_what_is_no_sum_of_weights_says_what_to_do_instead():
    vote = Pipeline([("vote", VotingClassifier([("one", fitted(MultinomialNB()))], voting="soft").fit(TEXTS, WORDS))])
    for pipeline in (fitted(RandomForestClassifier(5, random_state=0)), vote):
        model = make_model(pipeline, "v", 0.5, Labels("normal", "urgent"))
        with pytest.raises(BadData, match="(Forest|Voting).* is no sum of weights.*train FILES --with-reviews"):
            fine_tune(model, [Example(URGENT, True, "reviews")], {})


def test_a_tutorials_files_are_served_by_the_three_commands_of_the_docs(flask, models, client, tmp_path, monkeypatch):
    """docs/own_model.md: its training script is run, and then its commands, in order."""
    page = (ROOT / "docs" / "own_model.md").read_text()
    script = re.search(r"```python\n(# train.py.*?)```", page, re.DOTALL)[1]
    commands = re.findall(r"\.venv/bin/flask (models import .*|models use IMPORTED|predict .*)", page)[:3]
    monkeypatch.chdir(tmp_path)
    rows = "".join(f'{word},"{text}"\n' for word, text in zip(WORDS, TEXTS, strict=True))
    (tmp_path / "messages.csv").write_text(f"label,text\n{rows}")
    exec(compile(script, "train.py", "exec"), {})
    assert [command.split()[0] for command in commands] == ["models", "models", "predict"]
    said = []
    for command in commands:
        words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', command.replace("IMPORTED", newest(models)))]
        result = flask(*words)
        assert result.exit_code == 0, result.output
        said.append(result.output)
    version = newest(models)
    assert [name for name, _ in artifact.read_card(models, version).imported] == ["model.pkl", "vectorizer.pkl"]
    assert f"models use {version}" in said[0]
    assert "How good it is is not known" in said[0]
    assert said[2].startswith("urgent ")
    answer = client.post("/api/v1/predict", json={"text": URGENT}).json
    assert (answer["label"], answer["model_version"]) == ("urgent", version)
    vectorizer, model = (pickle.loads((tmp_path / name).read_bytes()) for name in ("vectorizer.pkl", "model.pkl"))
    probability = make_pipeline(vectorizer, model).predict_proba([URGENT])[0, 1]
    assert answer["spam_probability"] == pytest.approx(probability)
    assert answer["explanation"]
    client.post("/login", data={"password": PASSWORD})
    for path in ("/", "/review", "/monitor", "/models"):
        assert client.get(path).status_code == 200, path
    assert "they answer different questions" in client.get("/models/compare").text  # the other one's labels are spam's
    assert "imported from model.pkl" in client.get("/models").text
    shown = flask("models", "show", version).output
    assert hashlib.sha256((tmp_path / "model.pkl").read_bytes()).hexdigest() in shown
    assert "how good it was then, is not known" in shown
