"""Prometheus, and Grafana where it is there, beside the stack: `up --with metrics`. Both on 127.0.0.1 only.

What they run on is written from the settings and the project's `monitoring` folder; the token lies in a file of its own that
nobody else may read.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from drystone.core.errors import Invalid, Unavailable
from drystone.stack.project import Project
from drystone.stack.services import LOOPBACK, write_private

FOLDER = "monitoring"
_KEPT = "15d"


def prometheus_yml(project: Project, token_file: Path) -> str:
    """What Prometheus reads: whom to ask, what to wake somebody for."""
    monitoring = project.settings.monitoring
    template = Template((project.root / FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    values = {
        "rules": project.root / FOLDER / "rules" / "*.yml",
        "token_file": token_file,
        "web": urlsplit(project.url).netloc,
        "worker": urlsplit(worker_url(project)).netloc,
        "prometheus": f"{LOOPBACK}:{monitoring.prometheus_port}",
    }
    return template.substitute({name: str(value).replace("'", "''") for name, value in values.items()})


def worker_url(project: Project) -> str:
    """Where the worker tells its numbers."""
    monitoring = project.settings.monitoring
    return f"http://{_reachable(monitoring.worker_host)}:{monitoring.worker_port}/metrics"


def write_prometheus(project: Project, folder: Path) -> Path:
    """Write configuration and token into a folder, for their owner alone; the configuration's path. Raises Invalid."""
    token = project.settings.monitoring.token.get_secret_value()
    if not token:
        raise Invalid(
            "stack.no_metrics_token",
            "Prometheus needs METRICS_TOKEN, which is not set.",
            hint="./drystone env create adds it to .env",
        )
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    write_private(folder / "token", token)
    write_private(folder / "prometheus.yml", prometheus_yml(project, folder / "token"))
    return folder / "prometheus.yml"


def find_prometheus() -> str:
    """The program. Raises Unavailable where there is none on PATH."""
    if (program := shutil.which("prometheus")) is None:
        raise Unavailable(
            "stack.no_prometheus",
            "There is no prometheus on PATH.",
            hint="install it (Debian, Ubuntu: apt install prometheus; macOS: brew install prometheus), or leave out --with metrics",
        )
    return program


def find_grafana() -> Path | None:
    """The program, where there is one on PATH."""
    found = shutil.which("grafana") or shutil.which("grafana-server")
    return Path(found) if found else None


def prometheus_argv(project: Project, folder: Path) -> list[str]:
    """The command of a Prometheus that keeps its data in the folder; what it reads is written anew. Raises Unavailable, Invalid."""
    return [
        find_prometheus(),
        f"--config.file={write_prometheus(project, folder)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={_KEPT}",
        f"--web.listen-address={LOOPBACK}:{project.settings.monitoring.prometheus_port}",
    ]


def grafana_argv(program: Path, folder: Path) -> list[str]:
    """The command of a Grafana that keeps its data in the folder."""
    for each in ("data", "logs", "plugins"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    return [str(program), *(["server"] if program.name == "grafana" else []), f"--homepath={_homepath(program)}"]


def grafana_environment(project: Project, folder: Path) -> dict[str, str]:
    """What Grafana is told: without a login, and with nothing asked or told outside."""
    monitoring, provisioned = project.settings.monitoring, project.root / FOLDER / "grafana"
    return {
        "GF_SERVER_HTTP_ADDR": LOOPBACK,
        "GF_SERVER_HTTP_PORT": str(monitoring.grafana_port),
        "GF_PATHS_DATA": str(folder / "data"),
        "GF_PATHS_LOGS": str(folder / "logs"),
        "GF_PATHS_PLUGINS": str(folder / "plugins"),
        "GF_PATHS_PROVISIONING": str(provisioned),
        "DRYSTONE_DASHBOARDS": str(provisioned / "dashboards"),
        "DRYSTONE_PROMETHEUS": f"http://{LOOPBACK}:{monitoring.prometheus_port}",
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_AUTH_BASIC_ENABLED": "false",
        "GF_AUTH_DISABLE_LOGIN_FORM": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    }


def _homepath(program: Path) -> Path:
    """Where Grafana's own files are: beside the program, or where packages put them."""
    named = os.environ.get("GF_PATHS_HOME")
    beside = program.resolve().parent.parent
    places = [Path(named)] if named else [beside / "share" / "grafana", Path("/usr/share/grafana"), beside]
    return next((place for place in places if (place / "conf" / "defaults.ini").is_file()), places[-1])


def _reachable(host: str) -> str:
    """An address to call, of one to listen on."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
        return LOOPBACK
    return f"[{host}]" if ":" in host else host
