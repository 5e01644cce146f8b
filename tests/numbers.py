"""What /metrics tells, as tests read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Numbers:
    """Every sample of one scrape: (name, labels) -> the number."""

    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float]

    @classmethod
    def of(cls, text: str) -> Numbers:
        return cls(
            {
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    def sum(self, name: str, **labels: str) -> float:
        """Of all samples of this name that have these labels; 0 where there are none."""
        return sum(
            value for (found, has), value in self.samples.items() if found == name and has >= set(labels.items())
        )

    def names(self) -> set[str]:
        return {name for name, _ in self.samples}

    def words(self) -> set[str]:
        """Every label's value."""
        return {value for _, labels in self.samples for _, value in labels}
