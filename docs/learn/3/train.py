"""Learn spam from messages.csv; save the model, and beside it a card that says what it is."""

import csv
import hashlib
import json
import pickle
from pathlib import Path

import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

rows = list(csv.DictReader(open("messages.csv")))
texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
split = train_test_split(texts, labels, test_size=15, random_state=1, stratify=labels)
train_texts, test_texts, train_labels, test_labels = split

model = make_pipeline(TfidfVectorizer(), MultinomialNB())
model.fit(train_texts, train_labels)
right = sum(model.predict(test_texts) == test_labels)
print(f"right on {right} of {len(test_texts)} messages that it never saw")

content = pickle.dumps(model)
card = {
    "scikit_learn": sklearn.__version__,
    "sha256": hashlib.sha256(content).hexdigest(),
    "right": f"{right} of {len(test_texts)}",
}
Path("model.pkl").write_bytes(content)
Path("model.json").write_text(json.dumps(card, indent=2) + "\n")
