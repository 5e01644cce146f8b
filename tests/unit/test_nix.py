"""What devenv.nix says a second time agrees with the code, the lock files with each other; the start scripts read `.env`.

What only Nix can tell is in nix/checks, run by `nix flake check`.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from drystone.stack import services

ROOT = Path(__file__).parent.parent.parent
DEVENV = (ROOT / "devenv.nix").read_text()


def _locked(name: str) -> dict[str, Any]:
    """Input -> what it is locked to."""
    nodes = json.loads((ROOT / name).read_text())["nodes"]
    return {
        each: {key: nodes[node]["locked"][key] for key in ("owner", "repo", "rev", "narHash", "lastModified")}
        for each, node in nodes["root"]["inputs"].items()
    }


def _block(name: str) -> str:
    """The lines of devenv.nix between `name = …` and its end."""
    match = re.search(
        rf"^( *){re.escape(name)} = (?:\{{|\[|'')\n(.*?)^\1(?:\}}|\]|'');", DEVENV, re.MULTILINE | re.DOTALL
    )
    assert match, name
    return match[2]


def test_both_lock_files_pin_the_same_inputs() -> None:
    assert _locked("devenv.lock") == _locked("flake.lock")
    assert set(_locked("devenv.lock")) == {"devenv", "nixpkgs"}


def test_devenvs_version_is_the_same_everywhere() -> None:
    files = ("devenv.yaml", "flake.nix", ".github/workflows/ci.yml")
    said = {name: re.findall(r"github:cachix/devenv/(v[\d.]+)", (ROOT / name).read_text()) for name in files}

    assert {version for versions in said.values() for version in versions} == {"v2.2.2"}
    assert all(said.values())


def test_postgres_is_configured_as_by_the_native_stack() -> None:
    ours = dict(re.findall(r"^(\w+) = '?(.*?)'?(?: +#.*)?$", services.POSTGRES_CONF, re.MULTILINE))
    devenvs = dict(re.findall(r'^ *(\w+) = "?(.*?)"?;$', _block("settings"), re.MULTILINE))

    del ours["listen_addresses"], ours["port"]  # options of their own
    del ours["include_if_exists"]  # with devenv your own settings stand in devenv.local.nix
    assert devenvs == ours
    assert 'listen_addresses = "127.0.0.1";' in DEVENV


def test_a_cluster_is_made_as_by_the_native_stack() -> None:
    ours = re.findall(r'"(--[a-z-]+(?:=[\w.-]+)?)"', inspect.getsource(services._initdb))
    rules = [line for line in services.POSTGRES_HBA.splitlines() if not line.startswith("#")]

    assert sorted(re.findall(r'"(.*)"', _block("initdbArgs"))) == sorted(ours)
    assert _block("hbaConf").split() == " ".join(rules).split()


def test_redis_is_configured_as_by_the_native_stack() -> None:
    def lines(text: str) -> set[str]:
        return {line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}

    at_start = {'requirepass "{password}"', 'dir "{folder}"'}  # written by the start script
    native_only = {"set-proc-title no"}  # how the native stack finds its processes
    devenvs = re.sub(r"^ *port .*$", "port {port}", _block("extraConfig"), flags=re.MULTILINE)
    assert lines(devenvs) == lines(services.REDIS_CONF) - at_start - native_only


def test_devenv_is_given_no_secret() -> None:
    secret_options = re.findall(r"\b(pass|secretKey|requirepass|initialScript|dotenv\.enable)\b *=", DEVENV)

    assert secret_options == []


@pytest.mark.parametrize(
    ("line", "shell", "expected"),
    [
        ("REDIS_URL=redis://:s3cret@127.0.0.1:16379/0", {}, "s3cret"),
        ("REDIS_URL='redis://someone:s3cret@127.0.0.1:16379/0'", {}, "s3cret"),
        ("REDIS_URL=redis://:a%40b%2Fc%25d@127.0.0.1:16379/0", {}, "a@b/c%d"),
        ("REDIS_URL=redis://:old@127.0.0.1:1/0\nREDIS_URL=redis://:new@127.0.0.1:1/0", {}, "new"),
        ("REDIS_URL=redis://:file@127.0.0.1:1/0", {"REDIS_URL": "redis://:shell@127.0.0.1:1/0"}, "shell"),
        ("REDIS_URL=redis://:file@127.0.0.1:1/0", {"REDIS_URL": ""}, "file"),
    ],
)
def test_a_start_script_reads_a_password_as_the_settings_do(
    line: str, shell: dict[str, str], expected: str, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"# a comment\n{line}\nOTHER=1\n")

    result = _bash("password REDIS_URL", tmp_path, shell)

    assert (result.stdout, result.stderr) == (expected, "")


def test_a_start_script_without_its_secret_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_SUPERUSER_PASSWORD=''\n")

    result = _bash("value POSTGRES_SUPERUSER_PASSWORD", tmp_path, {})

    assert result.returncode != 0
    assert "POSTGRES_SUPERUSER_PASSWORD is not set" in result.stderr
    assert "hint:" in result.stderr


def test_every_start_script_is_understood_by_bash() -> None:
    scripts = sorted((ROOT / "nix").rglob("*.sh"))

    assert len(scripts) == 9
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)


def _bash(command: str, root: Path, shell: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = f"set -euo pipefail\n{(ROOT / 'nix' / 'secrets.sh').read_text()}\n{command}"
    environment = {"PATH": os.environ["PATH"], "DEVENV_ROOT": str(root), **shell}
    return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
