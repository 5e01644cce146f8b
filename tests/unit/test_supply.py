"""What is installed: only what the lock names with its hash, under licences that ask for nothing, and told in a bill of materials."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from cyclonedx.schema import _res

ROOT = Path(__file__).parent.parent.parent
LOCK: dict[str, Any] = tomllib.loads((ROOT / "uv.lock").read_text())
PACKAGES: dict[str, dict[str, Any]] = {package["name"]: package for package in LOCK["package"]}

# Words of licence names, as expressions, classifiers or fields have them. All allow use, change and sale without a condition on our code.
_ALLOWED = re.compile(
    r"(?:MIT(?:-0| License)?|(?:3-Clause )?BSD(?:-[23]-Clause)?(?: License)?|0BSD|Apache[- ]2\.0|Apache Software License|ISC License \(ISCL\)|ISC"
    r"|PSF-2\.0|Python Software Foundation License|CNRI-Python|Zlib|CC0-1\.0)"
)
# What the list does not cover, and why it is taken all the same.
_EXCEPTIONS = {
    "certifi": "MPL 2.0 asks for changes to its own files to be published; it is a list of certificates, used unchanged",
    "orjson": "MPL 2.0 as certifi, beside Apache-2.0 or MIT; used unchanged, and only by the extra langchain, through langsmith",
    "pypdfium2": "BSD-3-Clause and Apache-2.0; `dependency licenses` are PDFium's and its parts', all permissive",
}


def _runtime() -> set[str]:
    """Names of what the launcher installs to run: the project with its extras, and the default groups."""
    project = PACKAGES["drystone"]
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["default-groups"]
    waiting = [*project["dependencies"]]
    for chosen in (*project["optional-dependencies"].values(), *(project["dev-dependencies"][name] for name in groups)):
        waiting += chosen
    found: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        package = PACKAGES[wanted["name"]]
        for extra in wanted.get("extra", ()):
            waiting += package["optional-dependencies"][extra]
        if wanted["name"] not in found:
            found.add(wanted["name"])
            waiting += package.get("dependencies", [])
    return found


def _licences(distribution: metadata.Distribution) -> list[str]:
    """As the expression says, else the classifiers, else the field."""
    told: dict[str, Any] = distribution.metadata.json
    if expression := told.get("license_expression"):
        return [part for part in re.split(r" (?:AND|OR) |[()]", expression) if part]
    named = [each.rpartition(":: ")[2] for each in told.get("classifier", []) if each.startswith("License :: ")]
    named = [each for each in named if each != "OSI Approved"]
    return named or re.split(r", | AND | OR ", told.get("license") or "none")


def test_every_file_of_the_lock_has_its_hash_and_comes_from_the_public_index() -> None:
    others = [package for package in LOCK["package"] if package["name"] != "drystone"]
    files = [file for package in others for file in (*package.get("wheels", ()), package.get("sdist")) if file]

    assert {json.dumps(package["source"]) for package in others} == {'{"registry": "https://pypi.org/simple"}'}
    assert all(package.get("wheels") or package.get("sdist") for package in others)
    assert [file["url"] for file in files if not re.fullmatch(r"sha256:[0-9a-f]{64}", file.get("hash", ""))] == []
    assert {file["url"].split("/")[2] for file in files} == {"files.pythonhosted.org"}


def test_what_runs_is_under_licences_that_ask_for_nothing() -> None:
    found = {name: _licences(distribution) for name in _runtime() if (distribution := _installed(name))}
    others = {name: told for name, told in found.items() if not all(_ALLOWED.fullmatch(each) for each in told)}

    assert len(found) > 60
    assert set(others) - set(_EXCEPTIONS) == set(), others
    assert set(_EXCEPTIONS) <= set(others), "an exception that is needed no more"


def _installed(name: str) -> metadata.Distribution | None:
    """None: it is for other machines."""
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


@pytest.fixture
def uv() -> str:
    tools = ROOT / ".drystone" / "tools" / "bin" / "uv"
    found = shutil.which("uv") or (str(tools) if tools.exists() else None)
    if found is None:
        pytest.skip("no uv on PATH or in .drystone/tools; ./drystone installs one")
    return found


def test_the_bill_of_materials_is_valid_and_names_what_runs(uv: str, tmp_path: Path) -> None:
    words = ["export", "--frozen", "--all-extras", "--format", "cyclonedx1.5", "--quiet", "--output-file"]
    subprocess.run([uv, *words, str(tmp_path / "sbom.json")], cwd=ROOT, check=True, capture_output=True)

    written = json.loads((tmp_path / "sbom.json").read_text())
    validator = _cyclonedx()
    assert [error.message for error in validator.iter_errors(written)] == []
    assert not validator.is_valid(written | {"bomFormat": "another"})
    assert {component["name"] for component in written["components"]} == _runtime()


def _cyclonedx() -> Any:
    """The schema of CycloneDX 1.5. Its library checks every URL's syntax as well, a minute long."""
    schemas = {
        path.name: json.loads(path.read_text())
        for path in resources.files(_res).iterdir()
        if path.name.endswith(".json")
    }
    others = [(f"http://cyclonedx.org/schema/{name}", schema) for name, schema in schemas.items()]
    return jsonschema_rs.validator_for(schemas["bom-1.5.SNAPSHOT.schema.json"], registry=jsonschema_rs.Registry(others))


def test_a_file_with_another_hash_is_not_installed(uv: str, tmp_path: Path) -> None:
    package = PACKAGES["mdurl"]
    wheel = package["wheels"][0]
    lock = f"""version = 1
requires-python = ">=3.11"

[[package]]
name = "mdurl"
version = "{package["version"]}"
source = {{ registry = "https://pypi.org/simple" }}
wheels = [{{ url = "{wheel["url"]}", hash = "{wheel["hash"]}" }}]

[[package]]
name = "one"
version = "1"
source = {{ virtual = "." }}
dependencies = [{{ name = "mdurl" }}]
"""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "one"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["mdurl"]\n'
    )

    right = _sync(uv, tmp_path, lock)
    if right.returncode != 0:
        pytest.skip(f"the index cannot be reached: {right.stderr.strip().splitlines()[-1]}")
    shutil.rmtree(tmp_path / ".venv")
    wrong = _sync(uv, tmp_path, lock.replace(wheel["hash"], f"sha256:{'0' * 64}"))

    assert wrong.returncode != 0
    assert "Hash mismatch" in wrong.stderr
    assert list((tmp_path / ".venv").rglob("mdurl")) == []


def _sync(uv: str, folder: Path, lock: str) -> subprocess.CompletedProcess[str]:
    """`uv sync --frozen`, as the launcher does, with a cache of its own."""
    (folder / "uv.lock").write_text(lock)
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("UV_PROJECT", "VIRTUAL_ENV"))}
    return subprocess.run(
        [uv, "sync", "--frozen", "--no-cache"],
        cwd=folder,
        env=mine | {"UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
        check=False,
    )
