"""A project whose `.env` was spoiled after its stack was started."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from drystone.core import settings as core_settings
from drystone.core.settings import SettingsError
from drystone.stack import dotenv
from drystone.stack.project import open_project, open_started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    dotenv.create(tmp_path / ".env", ports="free")
    return tmp_path


def _spoil(folder: Path, *lines: str) -> None:
    names = tuple(line.partition("=")[0] + "=" for line in lines)
    kept = [line for line in (folder / ".env").read_text().splitlines() if not line.startswith(names)]
    (folder / ".env").write_text("\n".join((*kept, *lines, "")))


@pytest.mark.parametrize(
    "lines",
    [
        ("NEXT_EMBEDDING_PROVIDER=bundlet", "NEXT_EMBEDDING_MODEL=multilingual-e5-small"),
        ("NEXT_EMBEDDING_PROVIDER=bundled", "NEXT_EMBEDDING_MODEL=multilingual-e5-smal"),
        ("EMBEDDING_PROVIDER=openai", "EMBEDDING_DIMENSION=1024"),
        ("JOB_LEASE_S=soon",),
        ("BLOB_GRACE_S=1",),
        ("DRYSTONE_API_KEY=mynewkey",),
        ("S3_SECRET_KEY=short", "METRICS_TOKEN=short"),
    ],
)
def test_what_was_started_can_be_stopped_whatever_became_of_a_setting(folder: Path, lines: tuple[str, ...]) -> None:
    before = open_project(folder)
    _spoil(folder, *lines)
    talk = io.StringIO()

    with pytest.raises(SettingsError):
        open_project(folder)
    project = open_started(folder, talk=talk)

    assert (project.root, project.data_dir, project.url) == (before.root, before.data_dir, before.url)
    assert "Not usable in .env or the shell, so left out here:\n  " in talk.getvalue()


def test_a_sound_project_is_opened_without_a_word(folder: Path) -> None:
    talk = io.StringIO()

    assert open_started(folder, talk=talk) == open_project(folder)
    assert talk.getvalue() == ""


def test_what_cannot_be_done_without_is_still_refused(folder: Path) -> None:
    _spoil(folder, "DATABASE_URL=nonsense")

    with pytest.raises(SettingsError, match="DATABASE_URL"):
        open_started(folder, talk=io.StringIO())


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620])
def test_in_production_secrets_that_others_may_read_or_change_are_refused(folder: Path, mode: int) -> None:
    _spoil(folder, "ENVIRONMENT=production")
    (folder / ".env").chmod(mode)

    for opened in (open_project, core_settings.load):
        with pytest.raises(SettingsError, match=rf"others on this machine may .* \(mode {mode:04o}\)") as refused:
            opened(folder, shell={})
        assert "chmod 600" in (refused.value.hint or "")

    talk = io.StringIO()
    open_started(folder, talk=talk)  # what runs can be stopped
    assert "others on this machine" in talk.getvalue()
    (folder / ".env").chmod(0o640)
    assert open_project(folder, shell={}).settings.general.environment == "production"


def test_elsewhere_it_is_only_a_finding(folder: Path) -> None:
    (folder / ".env").chmod(0o644)

    assert open_project(folder, shell={}).settings.general.environment == "development"
