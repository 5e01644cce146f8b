"""Rules and dashboards ask for numbers that there are; the reference and the guide tell of all of them."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from drystone.cli import metrics
from drystone.core import measures
from drystone.core import settings as core_settings
from drystone.core.errors import Invalid
from drystone.stack import dotenv, monitoring
from drystone.stack.project import Project

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "monitoring"
RULES = FOLDER / "rules" / "drystone.yml"
DASHBOARDS = sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))
# Told by Prometheus itself, by its client library, and by MinIO.
OTHERS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
MINIO = re.compile(r"minio_\w+")


def exposed() -> dict[str, set[str]]:
    """Every name that a query may use, with its labels."""
    names: dict[str, set[str]] = {}
    for about in measures.catalogue():
        labels = {*about.labels, "job", "instance"}
        if about.kind == "histogram":
            names |= {f"{about.name}_{part}": labels for part in ("sum", "count")}
            names[f"{about.name}_bucket"] = labels | {"le"}
        else:
            names[about.name] = labels
    return names


def expressions() -> list[tuple[str, str]]:
    """Where each query stands, and the query."""
    rules = RULES.read_text()
    found = re.findall(r"- alert: (\w+)\n\s+expr: >-\n\s+(.+)\n", rules)
    assert len(found) == rules.count("- alert:")
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            found += [(f"{path.stem}: {panel['title']}", target["expr"]) for target in panel["targets"]]
    return found


def test_there_are_dashboards_and_rules() -> None:
    assert len(DASHBOARDS) == 4
    assert len(expressions()) > 60


@pytest.mark.parametrize(("where", "query"), expressions())
def test_a_query_asks_for_what_there_is(where: str, query: str) -> None:
    known = exposed()
    for name, _, labels in re.findall(r"\b((?:drystone|process|minio|up)\w*)(\{([^}]*)\})?", query):
        assert name in known or name in OTHERS or MINIO.fullmatch(name), name
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))
        assert asked <= known.get(name, {"job", "instance"}), (name, asked)
    for labels in re.findall(r"\bby \(([^)]*)\)", query):
        told = set().union(*(known.get(name, set()) for name in re.findall(r"\bdrystone_\w+", query)))
        assert set(re.split(r",\s*", labels)) <= told | {"api"}, labels


def test_every_alert_is_in_the_guide_and_no_other() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    page = (ROOT / "docs" / "guides" / "monitoring.md").read_text()

    assert re.findall(r"^\| `(Drystone\w+)` \(", page, re.MULTILINE) == alerts
    assert set(re.findall(r"severity: (\w+)", RULES.read_text())) == {"page", "warn"}


def test_every_alert_says_what_to_do_and_where_that_is_explained() -> None:
    rules = RULES.read_text()
    links = re.findall(r"runbook_url: '([^'#]+)#(\w+)'", rules)

    assert len(links) == rules.count("summary: '") == rules.count("description: '") == rules.count("- alert:")
    assert {
        (ROOT / path).is_file() and f"## {anchor.capitalize()}" in (ROOT / path).read_text() for path, anchor in links
    } == {True}


def test_the_reference_is_in_step_with_the_code() -> None:
    page = ROOT / "docs" / "reference" / "metrics.md"

    assert page.read_text() == metrics.page(), "./drystone metrics reference > docs/reference/metrics.md"


def test_promtool_accepts_rules_and_configuration(tmp_path: Path) -> None:
    if not shutil.which("promtool"):
        pytest.skip("no promtool on PATH; Debian's package prometheus has it")
    path = monitoring.write_prometheus(project(tmp_path / "it's here"), tmp_path / "it's here")

    for command in (["check", "rules", str(RULES)], ["check", "config", str(path)]):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_token_is_in_a_file_for_its_owner_alone_and_nowhere_else(tmp_path: Path) -> None:
    made = project(tmp_path)
    token = made.settings.monitoring.token.get_secret_value()

    path = monitoring.write_prometheus(made, tmp_path / "prometheus")

    assert token not in path.read_text()
    assert (tmp_path / "prometheus" / "token").read_text() == token
    assert {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "prometheus").iterdir()} == {0o600}


def test_without_a_token_there_is_nothing_to_configure(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="METRICS_TOKEN"):
        monitoring.write_prometheus(project(tmp_path, METRICS_TOKEN=""), tmp_path)


def test_the_template_asks_web_and_worker_at_the_ports_of_the_settings(tmp_path: Path) -> None:
    made = project(tmp_path, API_HOST="0.0.0.0", API_PORT="1234", WORKER_METRICS_PORT="1235")
    text = monitoring.prometheus_yml(made, tmp_path / "token")

    assert "'127.0.0.1:1234'" in text
    assert "'127.0.0.1:1235'" in text
    assert "$" not in text


def project(folder: Path, **changes: str) -> Project:
    environment: dict[str, Any] = dotenv.make_environment(data_dir=folder, model_dir=folder) | changes
    return Project(ROOT, environment, core_settings.absolute(core_settings.parse(environment), folder))
