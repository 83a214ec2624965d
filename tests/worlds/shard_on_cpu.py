"""Run a module where CPU processes may shard a model, which accelerate allows to GPUs only.

    accelerate launch --config_file FSDP.yaml shard_on_cpu.py -m persuasion_lib.training.worker …
"""

import runpy
import sys

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

stock = AcceleratorState.__init__


def sharding(self, *arguments, fsdp_plugin=None, **options):
    stock(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
    if fsdp_plugin is not None:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP


if __name__ == "__main__":
    AcceleratorState.__init__ = sharding
    module, sys.argv = sys.argv[2], sys.argv[2:]
    runpy.run_module(module, run_name="__main__")
