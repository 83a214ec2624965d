"""One process of a training in several.

    torchrun … -m persuasion_lib.training.worker rlaif --profile full

Reads the rows that the notebooks wrote and trains one model; see launch.
"""

import argparse
import sys

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.family import FAMILY, PREFERENCE_TRAINED
from persuasion_lib.core.pipeline import read_file
from persuasion_lib.core.progress import LINE_MARK
from persuasion_lib.training.dpo import train_preferences
from persuasion_lib.training.launch import check_world_size, processes
from persuasion_lib.training.sft import train_sft


def main(arguments: list[str] | None = None) -> int:
    """Train the named model; the status is 1 and one line says why when it cannot."""
    parser = argparse.ArgumentParser(prog="persuasion_lib.training.worker", description=__doc__)
    parser.add_argument("name", choices=["sft", *PREFERENCE_TRAINED])
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    try:
        config = load_config(given.profile, given.set)
        count = check_world_size(config)
        if processes().is_main_process:
            print(f"{LINE_MARK}world size {count}", flush=True)
        _train(config, given.name)
    except PersuasionError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _train(config: Config, name: str) -> None:
    labels = FAMILY[name].labels
    train, val = (read_file(config, f"{labels}_{part}") for part in ("train", "val"))
    if name == "sft":
        train_sft(config, train, val)
    else:
        train_preferences(config, name, train, val)


if __name__ == "__main__":
    sys.exit(main())
