import pickle

from flask import Flask, render_template_string, request

app = Flask(__name__)
model = pickle.load(open("model.pkl", "rb"))
history = []

PAGE = """<form method="post"><input name="text" size="60"><button>Check</button></form>
{% if result %}<p>"{{ result.text }}" is {{ result.label }}, {{ result.spam_probability }}</p>{% endif %}
<p>{{ history|length }} messages checked.</p>
"""


def check(text):
    spam_probability = model.predict_proba([text])[0][1]
    label = "spam" if spam_probability > 0.5 else "ham"
    result = {"text": text, "label": label, "spam_probability": round(spam_probability, 2)}
    history.append(result)
    return result


@app.route("/", methods=["GET", "POST"])
def form():
    result = check(request.form["text"]) if request.method == "POST" else None
    return render_template_string(PAGE, result=result, history=history)


@app.post("/predict")
def predict():
    return check(request.get_json()["text"])


@app.get("/history")
def show_history():
    return {"messages": len(history)}
