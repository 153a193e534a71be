from app import app


def test_a_prize_is_spam():
    answer = app.test_client().post("/predict", json={"text": "Claim your free prize now"})
    assert answer.json["label"] == "spam"


def test_a_number_is_refused():
    assert app.test_client().post("/predict", json={"text": 5}).status_code == 422
