"""Settings files: the plain part of YAML. A name is text and stands once, nothing refers to others.

No message shows a file's text: api_config.yaml may hold a key where something is wrong.
"""

from pathlib import Path
from typing import Any

import yaml

from persuasion_lib.core.errors import ConfigError, DataError, MissingInput
from persuasion_lib.core.reading import read_text

_STR = "tag:yaml.org,2002:str"


class _Plain(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        """Without aliases: with a few of them a small file becomes a huge one, or a circle."""
        if self.check_event(yaml.AliasEvent):
            self._refuse("*name is not read here", self.peek_event())
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Of two equal names YAML would take the last, in silence."""
        seen = set()
        for name, _ in node.value:
            if name.tag != _STR:
                self._refuse("a name must be text", name)
            if name.value in seen:
                self._refuse("this name stands here for the second time", name)
            seen.add(name.value)
        return super().construct_mapping(node, deep)

    def _refuse(self, problem: str, at: Any) -> None:
        raise yaml.constructor.ConstructorError(None, None, problem, at.start_mark)


def parse_yaml(text: str) -> Any:
    """The value of a text.

    Raises:
        ValueError: it is not plain YAML; its arguments are the line and what is wrong.
    """
    try:
        return yaml.load(text, _Plain)      # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = "a control character"
    except RecursionError:
        line = 1
        problem = "nested too deeply"
    # What PyYAML lets through for values such as 2026-13-45 or !!bool x.
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError):
        line = 1
        problem = "a value that its type does not have"
    raise ValueError(line, problem)


def read_yaml(path: Path) -> dict[str, Any]:
    """A settings file; the message about a malformed one never shows its text.

    Raises:
        ConfigError: it is missing, no text, no plain YAML, or holds no sections.
    """
    try:
        value = parse_yaml(read_text(path, made_by="git checkout"))
    except MissingInput:
        raise ConfigError(f"{path} is missing. Restore it with: git checkout {path}") from None
    except DataError as error:
        raise ConfigError(str(error)) from None
    except ValueError as error:
        line, problem = error.args
        raise ConfigError(f"{path}:{line} is not YAML as we read it ({problem}). Compare it with "
                          "the lines around.") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold `section:` lines with `key: value` lines below them.")
    return value
