"""Files of any size: the command, the upload page, and the one background runner."""

from pathlib import Path

from flask_openapi3 import OpenAPI

from webapp.config import environment
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
        jobs = [job for job in runner.list_jobs("batch") if job.state != "done"]
        states = [read_state(result_of(uploaded(runner.folder(job.id), job.arguments["name"]))) for job in jobs]
        return {state.model_version for state in states if state}

    for command in (batch, job):
        routes.blueprint.cli.add_command(command)
    app.register_blueprint(routes.blueprint, cli_group=None)
    app.extensions["private_menu"].append(("batch.page", "Batch"))
    app.extensions["inference"].registry.in_use.append(versions_of_interrupted_runs)
    app.extensions["purge_hooks"].append(lambda _connection, before: runner.remove_old(before))
