"""`drystone metrics`: the numbers of the stack that runs, their reference, and what Prometheus needs to read them."""

from __future__ import annotations

from typing import Annotated

import typer

metrics = typer.Typer(no_args_is_help=True, help="Numbers for Prometheus: what is counted, and how to read it.")

_HEAD = """# Which numbers are there, and what do they mean?

At `/metrics` of web (`API_PORT`) and of the worker (`WORKER_METRICS_PORT`), for whoever shows `METRICS_TOKEN`: [monitoring](../guides/monitoring.md).
Written by `./drystone metrics reference`; a test keeps it in step with the code. A histogram is read as `NAME_bucket`, `NAME_sum` and
`NAME_count`. Labels have a bounded number of values: none is an id, a name, a key or a path that somebody asked for.

Web tells what it counts itself and what it reads from PostgreSQL, Redis and the disk; the worker what all of its processes count.
Beside these each tells `process_…` of its own (of the worker: of the main process): memory, processor, open files.

| name | kind | labels | meaning |
|---|---|---|---|
"""


@metrics.command("show")
def show(
    worker: Annotated[bool, typer.Option("--worker", help="Of the worker instead of web.")] = False,
) -> None:
    """Print what Prometheus would read now."""
    import httpx

    from drystone.core.errors import Unavailable
    from drystone.stack import monitoring, root
    from drystone.stack.project import open_project

    project = open_project(root.find())
    url = monitoring.worker_url(project) if worker else f"{project.url}/metrics"
    token = project.settings.monitoring.token.get_secret_value()
    try:
        answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=10)
    except httpx.HTTPError as exc:
        raise Unavailable("metrics.no_answer", f"{url} does not answer.", hint="./drystone status") from exc
    if answer.status_code != 200:
        raise Unavailable(
            "metrics.refused",
            f"{url} answers {answer.status_code}.",
            hint="it was started with another METRICS_TOKEN: ./drystone down, then up",
        )
    typer.echo(answer.text, nl=False)


@metrics.command("prometheus")
def prometheus() -> None:
    """Print a configuration of Prometheus for this project; its token goes to a file beside the data, for you alone."""
    from drystone.stack import monitoring, root
    from drystone.stack.project import open_project

    project = open_project(root.find())
    path = monitoring.write_prometheus(project, project.data_dir / "prometheus")
    typer.echo(path.read_text(encoding="utf-8"), nl=False)


@metrics.command("reference")
def reference() -> None:
    """Print every number there is with its meaning, as a page of the reference."""
    typer.echo(page(), nl=False)


def page() -> str:
    """The page, in Markdown."""
    from drystone.core import measures

    rows = [
        f"| `{about.name}` | {about.kind} | {', '.join(f'`{label}`' for label in about.labels)} | {about.meaning} |"
        for about in measures.catalogue()
    ]
    return _HEAD + "\n".join(rows) + "\n"
