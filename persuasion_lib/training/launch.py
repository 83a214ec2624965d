"""Training in several processes: started from a notebook, or by torchrun or accelerate.

From a shell, the same for one machine or many (see torchrun's own options for those):

    torchrun --nproc_per_node 2 -m persuasion_lib.training.worker rlaif --profile full \\
        --set training.processes=2
"""

import os
import subprocess
import sys

import torch
from accelerate import PartialState

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, PersuasionError
from persuasion_lib.core.progress import LINE_MARK


def processes() -> PartialState:
    """The processes that train together, of which this is one."""
    # Without `cpu`, accelerate takes CPU processes of torchrun for lone ones.
    return PartialState(cpu=not torch.cuda.is_available())


def launch_if_asked(config: Config, name: str) -> bool:
    """Train `name` in `training.processes` processes; False when this process is to train itself.

    Raises:
        ConfigError: this process was launched with another number of processes than asked for.
        PersuasionError: a process failed; its last lines are in the message.
    """
    if config.training.processes == 1 or "WORLD_SIZE" in os.environ:
        check_world_size(config)
        return False
    command = [*launcher(config), "-m", "persuasion_lib.training.worker", name,
               "--profile", config.profile,
               *(part for text in config.overrides for part in ("--set", text))]
    print(f"{LINE_MARK}starting {config.training.processes} processes for {name}", flush=True)
    with subprocess.Popen(command, cwd=config.root, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT,
                          env=os.environ | {"PERSUASION_BATCH": "1"}) as process:
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if line.startswith(LINE_MARK):
                print(line, end="", flush=True)
    if process.returncode:
        said = [line for line in lines if "Error: " in line] or lines[-15:]
        raise PersuasionError(f"training {name} in {config.training.processes} processes failed "
                              f"(status {process.returncode}):\n{''.join(said)}")
    return True


def launcher(config: Config) -> list[str]:
    """torchrun, or accelerate with the file that `training.launch_config` names."""
    count = str(config.training.processes)
    file = config.training.launch_config
    if file is None:
        return [sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc_per_node", count]
    return [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", count,
            "--config_file", str(config.root / file)]


def check_world_size(config: Config) -> int:
    """The number of processes that train together.

    Raises:
        ConfigError: it is not the number asked for; some launchers start one and say nothing.
    """
    found = processes().num_processes
    asked = config.training.processes
    if found != asked:
        raise ConfigError(f"training.processes={asked}, but {found} started. Set it to the number "
                          "that the launcher starts, or use torchrun --nproc_per_node "
                          f"{asked} -m persuasion_lib.training.worker …")
    return found
