"""What Prometheus asks for: counts of requests, predictions and failures, over all workers of a server."""

import time

from flask import Response, g, request
from flask_openapi3 import OpenAPI

from webapp.extras.prometheus import routes
from webapp.extras.prometheus.metrics import Metrics


def init_app(app: OpenAPI) -> None:
    """Count each request, prediction and failure, and add /metrics."""
    metrics = app.extensions["metrics"] = Metrics()
    inference = app.extensions["inference"]
    inference.after_store.append(metrics.count_predictions)
    inference.failed.append(metrics.count_failure)

    @app.after_request
    def count(response: Response) -> Response:
        rule = request.url_rule
        route = rule.rule if rule else "unknown"  # never the path: anybody can think of more of them
        metrics.count_request(route, request.method, response.status_code, time.perf_counter() - g.started)
        return response

    app.register_api(routes.blueprint)
