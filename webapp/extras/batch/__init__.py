"""Files of any size: the command, the upload page, and the one background runner."""

from contextlib import suppress
from pathlib import Path

from flask_openapi3 import OpenAPI

from webapp.config import environment
from webapp.errors import BadData
from webapp.extras.batch import routes
from webapp.extras.batch.commands import batch, batch_job, job, uploaded
from webapp.extras.batch.run import read_state, result_of
from webapp.extras.batch.runner import Runner


def init_app(app: OpenAPI) -> None:
    """Add the runner, the batch pages and commands; purge the files of old jobs with the log."""
    instance_folder = Path(app.instance_path)
    runner = app.extensions["runner"] = Runner(instance_folder, lambda: environment(app.config, instance_folder))
    runner.kinds["batch"] = batch_job

    def versions_of_interrupted_runs() -> set[str]:
        versions = set()
        for run in runner.list_jobs("batch"):
            with suppress(BadData):  # a run without a readable state cannot go on
                state = read_state(result_of(uploaded(runner.folder(run.id), run.arguments["name"])))
                if state and run.state != "done":
                    versions.add(state.model_version)
        return versions

    for command in (batch, job):
        routes.blueprint.cli.add_command(command)
    app.register_blueprint(routes.blueprint, cli_group=None)
    app.extensions["private_menu"].append(("batch.page", "Batch"))
    app.extensions["inference"].registry.in_use.append(versions_of_interrupted_runs)
    app.extensions["purge_hooks"].append(lambda _connection, before: runner.remove_old(before))
