"""The launcher `./drystone`, in a project of its own, with a stand-in for uv: what it decides, not what uv installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import unprivileged

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ("sh", "cat", "cmp", "mkdir", "mv", "cp", "rm", "readlink", "tail", "grep", "ln", "sleep", "env")
# Makes a .venv that runs our interpreter, and notes how it was called.
UV = """\
#!/bin/sh
if [ "$1" = --version ]; then echo "uv 0"; exit; fi
echo "$* downloads=$UV_PYTHON_DOWNLOADS" >>"$UV_LOG"
if [ -e "$UV_LOG.fails" ]; then echo "no route to host" >&2; exit 2; fi
sleep 0.2
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin" && ln -sf "$REAL_PYTHON" "$UV_PROJECT_ENVIRONMENT/bin/python"
"""
MAIN = """\
import json, os, sys
print(json.dumps({"root": os.environ["DRYSTONE_ROOT"], "cwd": os.getcwd(), "arguments": sys.argv[1:]}))
"""


@dataclass
class Checkout:
    """A project with the launcher, and a PATH that holds only what is put there."""

    root: Path
    bin: Path

    @property
    def log(self) -> list[str]:
        path = self.bin / "uv.log"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": str(self.bin),
            "HOME": str(self.bin),
            "UV_LOG": str(self.bin / "uv.log"),
            "REAL_PYTHON": sys.executable,
            "PYTHONPATH": str(self.root / "src"),
        }

    def start(
        self, *arguments: str, cwd: Path | None = None, program: Path | None = None, **more: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [program or self.root / "drystone", *arguments],
            cwd=cwd or self.root,
            env=self.environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str, cwd: Path | None = None, program: Path | None = None, **more: str
    ) -> tuple[int, str, str]:
        process = self.start(*arguments, cwd=cwd, program=program, **more)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def add_python(self, name: str, text: str) -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root, programs = tmp_path / "with späces", tmp_path / "bin"
    package = root / "src" / "drystone" / "cli"
    package.mkdir(parents=True)
    programs.mkdir()
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "main.py").write_text(MAIN)
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "uv.lock").write_text("version = 1\n")
    shutil.copy(ROOT / "drystone", root / "drystone")
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (programs / tool).symlink_to(found)
    made = Checkout(root, programs)
    made.add_python("uv", UV)
    made.add_python("python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    return made


def test_it_installs_once_and_again_when_the_lock_changes(checkout: Checkout) -> None:
    for _ in range(2):
        code, out, err = checkout.run("status", "--json")
        assert code == 0, err
        assert '"arguments": ["status", "--json"]' in out

    assert len(checkout.log) == 1
    assert "sync" in checkout.log[0]
    assert "--frozen --inexact" in checkout.log[0]
    assert "downloads=never" in checkout.log[0]
    (checkout.root / "uv.lock").write_text("version = 2\n")
    assert checkout.run("status")[0] == 0
    assert len(checkout.log) == 2
    assert "--python" not in checkout.log[1]  # it keeps the .venv it has


def test_it_works_from_anywhere_through_links(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "relative").symlink_to("with späces/drystone")
    (tmp_path / "twice").symlink_to(tmp_path / "relative")

    code, out, err = checkout.run("x", cwd=tmp_path / "bin", program=tmp_path / "twice")

    assert code == 0, err
    assert out.startswith('{"root": "')
    assert out.encode().decode("unicode_escape").count(str(checkout.root)) == 1
    assert f'"cwd": "{tmp_path / "bin"}"' in out


def test_tests_need_their_group_and_keep_it(checkout: Checkout) -> None:
    checkout.run("status")
    checkout.run("test", "-k", "x")
    checkout.run("status")
    (checkout.root / "uv.lock").write_text("version = 2\n")
    checkout.run("status")

    assert ["--group test" in line for line in checkout.log] == [False, True, True]


@pytest.mark.parametrize(
    ("line", "group"),
    [
        ("EMBEDDING_MODEL=multilingual-e5-small", "multilingual"),
        ("EMBEDDING_MODEL='multilingual-e5-small'", "multilingual"),
        ("  export EMBEDDING_MODEL = multilingual-e5-small  # for Greek", "multilingual"),
        ("NEXT_EMBEDDING_MODEL=multilingual-e5-small", "multilingual"),
        ("VECTOR_STORE=qdrant", "qdrant"),
        ("EMBEDDING_MODEL=intfloat/multilingual-e5-small", None),
        ("#VECTOR_STORE=qdrant", None),
    ],
)
def test_what_env_names_brings_its_group(checkout: Checkout, line: str, group: str | None) -> None:
    checkout.run("status")
    (checkout.root / ".env").write_text(f"API_PORT=8000\n{line}\n")
    checkout.run("up")
    checkout.run("up")

    assert len(checkout.log) == (1 if group is None else 2)
    assert group is None or f"--group {group}" in checkout.log[1]


def test_a_model_that_the_shell_names_beats_env(checkout: Checkout) -> None:
    (checkout.root / ".env").write_text("EMBEDDING_MODEL=multilingual-e5-small\n")
    checkout.run("status", EMBEDDING_MODEL="")
    checkout.run("test", EMBEDDING_MODEL="multilingual-e5-small")

    assert ["--group multilingual" in line for line in checkout.log] == [False, True]


def test_two_first_runs_at_once_install_once(checkout: Checkout) -> None:
    both = [checkout.start("status") for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]

    assert [process.returncode for process in both] == [0, 0], outputs
    assert len(checkout.log) == 1


def test_a_moved_folder_gets_a_new_environment(checkout: Checkout) -> None:
    checkout.run("status")
    moved = checkout.root.rename(checkout.root.with_name("moved"))
    (moved / ".venv" / "old").touch()

    code, _, err = Checkout(moved, checkout.bin).run("status")

    assert code == 0, err
    assert len(checkout.log) == 2
    assert not (moved / ".venv" / "old").exists()


def test_a_python_that_only_pretends_is_passed_over(checkout: Checkout) -> None:
    checkout.add_python("python3.13", "#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2; exit 127\n")

    assert checkout.run("status")[0] == 0


def test_without_a_python_it_says_what_to_install(checkout: Checkout) -> None:
    checkout.add_python("python3", "#!/bin/sh\nexit 1\n")

    code, out, err = checkout.run("status")

    assert (code, out) == (69, "")
    assert err.startswith("error: No Python >= 3.11 was found on PATH.\nhint: install one")


def test_a_named_python_that_is_none_is_refused(checkout: Checkout) -> None:
    code, _, err = checkout.run("status", DRYSTONE_PYTHON="/nowhere/python")

    assert code == 69
    assert err.startswith("error: DRYSTONE_PYTHON=/nowhere/python is no Python >= 3.11.\nhint: ")


def test_without_venv_and_uv_it_names_the_package_to_install(checkout: Checkout) -> None:
    (checkout.bin / "uv").unlink()
    # As Debian's Python without python3-venv: it runs, but says this to `-m venv`.
    fake = checkout.bin / "debian-python"
    checkout.add_python(
        "debian-python",
        f'#!/bin/sh\nif [ "$1 $2" = "-m venv" ]; then echo "ensurepip is not available" >&2; exit 1; fi\n'
        f'if [ "$1" = -c ] && [ $# = 2 ]; then echo "{fake}"; exit; fi\nexec "{sys.executable}" "$@"\n',
    )

    code, _, err = checkout.run("status", DRYSTONE_PYTHON=str(fake))

    assert code == 69
    assert "error: " in err
    assert "apt install python3-venv" in err


def test_a_failed_installation_is_told_and_tried_again(checkout: Checkout) -> None:
    fails = checkout.bin / "uv.log.fails"
    fails.touch()
    code, out, err = checkout.run("status")
    assert (code, out) == (69, "")
    assert "no route to host" in err
    assert "error: The packages of uv.lock could not be installed" in err
    assert err.splitlines()[-1].startswith("hint: ")

    fails.unlink()
    assert checkout.run("status")[0] == 0


def test_offline_takes_what_the_cache_has_and_asks_no_network(checkout: Checkout) -> None:
    code, out, err = checkout.run("up", "--detach", "--offline")

    assert code == 0, err
    assert '"arguments": ["up", "--detach", "--offline"]' in out
    assert [line.split(" downloads")[0].endswith("--offline") for line in checkout.log] == [True]
    (checkout.bin / "uv").unlink()
    assert checkout.run("up", "--offline")[0] == 0  # what is current needs no uv
    assert checkout.run("search", "--offline")[0] == 0  # a word like others for other commands


@pytest.mark.parametrize("lacks", ["uv", "packages"])
def test_offline_says_what_is_missing_instead_of_fetching_it(checkout: Checkout, lacks: str) -> None:
    if lacks == "uv":
        (checkout.bin / "uv").unlink()
    else:
        (checkout.bin / "uv.log.fails").touch()

    code, out, err = checkout.run("up", "--offline")

    assert (code, out) == (69, "")
    assert "error: .venv is not what uv.lock asks for, and --offline forbids to fetch what it lacks.\nhint: " in err
    assert "Installing uv" not in err
    assert not (checkout.root / ".drystone" / "tools").exists()


def test_a_folder_that_cannot_be_written_is_told(checkout: Checkout) -> None:
    (checkout.root / ".drystone").write_text("a file in the way, which also stops root")

    code, _, err = checkout.run("status")

    assert code == 69
    assert err.startswith(f"error: {checkout.root} cannot be written to.\nhint: ")


def test_a_folder_of_somebody_else_is_told_by_every_sh(checkout: Checkout) -> None:
    modes_hold = unprivileged.prefix()
    folder = checkout.root / ".drystone"
    folder.mkdir(mode=0o555)
    folder.chmod(0o555)

    said = subprocess.run(
        [*modes_hold, str(checkout.root / "drystone"), "status"],
        env=checkout.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 69
    assert said.stderr.startswith(f"error: {checkout.root} cannot be written to.\nhint: ")


def test_an_unchanged_project_costs_almost_nothing(checkout: Checkout) -> None:
    checkout.run("status")
    shutil.copy(ROOT / "uv.lock", checkout.root / "uv.lock")
    checkout.run("status")
    # Instead of Python something that only ends, so that what is left is the launcher's own time.
    python = checkout.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(checkout.bin / "env")

    before = os.times()
    for _ in range(10):
        checkout.run("status")
    after = os.times()

    used = (after.children_user + after.children_system) - (before.children_user + before.children_system)
    assert used / 10 < 0.1  # processor time: a busy machine makes the clock's time meaningless
