"""What is wrong with a server is a finding of one line, whatever the driver raises."""

from __future__ import annotations

from pydantic import SecretStr

from drystone import checks
from drystone.core.settings import Settings
from drystone.resources import open_resources


async def test_a_refused_password_is_a_finding(settings: Settings) -> None:
    url = settings.database.url.get_secret_value().replace(settings.database.parts.password, "not-the-password")
    database = settings.database.model_copy(update={"url": SecretStr(url)})

    async with open_resources(settings.model_copy(update={"database": database}), name="test") as resources:
        finding = await checks.run("postgres", checks.postgres, resources)

    assert not finding.ok
    assert "password authentication failed" in finding.detail
    assert "\n" not in finding.detail
    assert "not-the-password" not in finding.detail
