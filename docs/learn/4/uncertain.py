"""Compare three ways to choose twenty messages to check. Of the demo's messages the truth is known, so all can be."""

import csv
import random
import sqlite3

with open("webapp/extras/tools/demo_messages.csv", encoding="utf-8") as file:
    truth = {row["text"]: row["label"] for row in csv.DictReader(file)}
rows = sqlite3.connect("instance/log.db").execute("SELECT text, label, spam_probability, threshold FROM predictions")
checked = [(abs(probability - threshold), label == truth[text]) for text, label, probability, threshold in rows]
checked.sort()  # the least sure first


def right(messages):
    return f"{100 * sum(is_right for _, is_right in messages) / len(messages):.0f} %"


random.seed(1)
print(f"all {len(checked)}:", right(checked))
print("twenty at random, eight times:", *(right(random.sample(checked, 20)) for _ in range(8)))
print("the twenty least sure:", right(checked[:20]))
print("the twenty surest:", right(checked[-20:]))
