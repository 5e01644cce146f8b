"""The search for secrets in the suite's output finds one that was put there: in a log, printed, said by a command."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from tests.canaries import leaks, secrets_of

from drystone.stack import dotenv

ROOT = Path(__file__).parent.parent.parent
_CONFTEST = """
import os
from tests.canaries import Watch, secrets_of

def pytest_configure(config):
    config.pluginmanager.register(Watch(secrets_of({"S3_SECRET_ACCESS_KEY": os.environ["CANARY"]})))
"""


# What a test does with a secret, by the name of the test.
_LEAKING = {
    "prints": "print(os.environ['CANARY'])",
    "writes_to_a_descriptor": "os.write(2, os.environ['CANARY'].encode())",
    "logs": "logging.getLogger('a').error(os.environ['CANARY'])",
    "has_a_log": "(tmp_path / 'web.log').write_text('x' + os.environ['CANARY'])",
    "has_a_folder_of_logs": "(tmp_path / 'logs').mkdir(); (tmp_path / 'logs' / 'web').write_text(os.environ['CANARY'])",
    "runs_doctor": "canaries.note(tmp_path, ('doctor',), os.environ['CANARY'])",
    "prints_what_is_in_an_env": "(tmp_path / '.env').write_text(f'REDIS_URL=redis://:{43 * chr(114)}@h:1/0'); print(43 * 'r')",
    "prints_a_webhooks_secret": "print('whsec_' + 'M' * 32)",
    "prints_a_key": "print('dsk_h4m2kq7wyd.' + 'k' * 43)",
    "fails": "assert os.environ['CANARY'] == ''",
}
_SILENT = {
    "does_nothing": "pass",
    "is_told_a_new_key": "canaries.note(tmp_path, ('keys', 'create'), os.environ['CANARY'])",
}


@pytest.mark.parametrize("tests", [_LEAKING, _SILENT], ids=["leaking", "silent"])
def test_a_run_fails_where_a_secret_is_and_names_each_place(tmp_path: Path, tests: dict[str, str]) -> None:
    body = "".join(f"def test_{name}(tmp_path):\n    {what}\n" for name, what in tests.items())
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_it.py").write_text(f"import logging, os\nfrom tests import canaries\n{body}")

    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "base")]
    run = subprocess.run(
        [*words, "-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path / "test_it.py")],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "CANARY": secrets.token_urlsafe(32),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    told = run.stdout.partition("secrets in the output")[2]
    assert {name for name in tests if f"test_{name}" in told} == (set(tests) if tests is _LEAKING else set()), (
        run.stdout
    )
    assert run.returncode == (1 if tests is _LEAKING else 0)


def test_every_secret_of_a_stack_is_looked_for(tmp_path: Path) -> None:
    environment = dotenv.make_environment(data_dir=tmp_path, model_dir=tmp_path)

    found = secrets_of(environment)

    assert set(found.values()) >= {
        "DRYSTONE_API_KEY",
        "DATABASE_URL",
        "MIGRATION_DATABASE_URL",
        "POSTGRES_SUPERUSER_PASSWORD",
        "S3_SECRET_ACCESS_KEY",
    }
    assert environment["REDIS_URL"].split(":")[2].split("@")[0] in found
    assert list(leaks("nothing of the kind", found)) == []
