"""The record of what a run asked of its settings."""

from dataclasses import dataclass, field


@dataclass
class Reads:
    """What a run asked of its settings: keys, prompts, and files that settings name."""

    settings: set[str] = field(default_factory=set)
    prompts: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    def clear(self) -> None:
        """Forget everything, before a run begins."""
        for kind in (self.settings, self.prompts, self.files):
            kind.clear()
