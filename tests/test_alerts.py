"""The alert rules of docs/prometheus-alerts.yml, and that they speak of metrics that exist."""

import re
import subprocess

from conftest import SPAM, need

from webapp.config import ROOT

RULES = ROOT / "docs" / "prometheus-alerts.yml"


def promtool(*words):
    program = need("promtool", "on Debian, apt-get install prometheus")
    answer = subprocess.run([program, *words], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_rules_are_valid():
    promtool("check", "rules", RULES)


def test_each_alert_fires_when_it_should_and_is_quiet_when_not():
    promtool("test", "rules", ROOT / "tests" / "alerts_test.yml")


def test_each_alert_is_tried_both_ways():
    tried = (ROOT / "tests" / "alerts_test.yml").read_text()
    for name in re.findall(r"alert: (\w+)", RULES.read_text()):
        assert re.search(rf"alertname: {name}, exp_alerts: \[\]", tried), name
        assert re.search(rf"alertname: {name}\n? *,? *exp_alerts: ?[*&\n]", tried), name


def test_the_rules_name_metrics_and_routes_of_the_server(app, client):
    client.post("/api/v1/predict", json={"text": SPAM})
    shown = client.get("/metrics").text + "hamlet_last_review_timestamp_seconds"
    for name in re.findall(r"(?<!:)\bhamlet_\w+", RULES.read_text()):
        assert name in shown
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    assert {"/", "/api/v1/predict", "/metrics", "/readyz"} <= routes


def test_the_guide_s_configuration_is_valid(tmp_path):
    guide = (ROOT / "docs" / "deploy.md").read_text()
    config = re.search(r"```yaml\n(.*?)```", guide, re.DOTALL)[1]
    (tmp_path / "prometheus.yml").write_text(config.replace("/opt/hamlet", str(ROOT)))
    promtool("check", "config", tmp_path / "prometheus.yml")
