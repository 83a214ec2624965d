"""What a trainer calls while it trains: progress, validation at the end, live curves, a check."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from accelerate.utils import gather_object
from transformers import Trainer, TrainerCallback

from persuasion_lib.core.errors import SelfTestError
from persuasion_lib.core.progress import Progress, in_batch
from persuasion_lib.core.records import Message, render_text
from persuasion_lib.training.launch import processes

SHOWN = 4       # replies at a validation point


class ShowProgress(TrainerCallback):
    """The library's progress line instead of the trainer's bar and tables."""

    def __init__(self, desc: str) -> None:
        self.desc = desc
        self.progress: Progress | None = None      # there is one while the first process trains

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.progress = Progress(state.max_steps - state.global_step, self.desc)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None,
               **_: Any) -> None:
        loss = (logs or {}).get("loss", (logs or {}).get("eval_loss"))
        if loss is not None and self.progress is not None:
            self.progress.note = f"loss {float(loss):.3f}"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.progress.update()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.progress.close()


class EvaluateAtEnd(TrainerCallback):
    """A validation point and a checkpoint after the last step, wherever the interval falls."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True


class LiveCurves(TrainerCallback):
    """The loss so far in the notebook, drawn again whenever something is logged; not in batch.

    When training ends it goes, because the cell then shows the whole curve. A training process
    without a notebook needs no IPython.
    """

    def __init__(self, desc: str) -> None:
        self.desc = desc
        self.handle: Any = None     # IPython's, of what is shown

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if in_batch() or state.global_step == 0:
            return
        from IPython import display, get_ipython
        if get_ipython() is None:
            return
        from persuasion_lib.training.curves import live_curve  # seaborn takes seconds to load
        figure = live_curve(state.log_history, self.desc)
        if self.handle is None:
            self.handle = display.display(figure, display_id=True)
        else:
            self.handle.update(figure)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.handle is not None:
            from IPython.display import HTML
            self.handle.update(HTML(""))


def tell_trackers(trainer: Trainer, prompts: Sequence[list[Message]],
                  replies: Sequence[str]) -> None:
    """Show a few held-out replies in the run of a tracker; they stand in no log of ours."""
    if not trainer.args.report_to:
        return
    shown = [f"{render_text(prompt)}\n\nREPLY: {reply}"
             for prompt, reply in zip(prompts[:SHOWN], replies, strict=False)]
    trainer.callback_handler.on_log(trainer.args, trainer.state, trainer.control,
                                    {"eval_replies": "\n\n---\n\n".join(shown)})


@contextmanager
def untracked(trainer: Trainer) -> Iterator[None]:
    """What is evaluated inside is a test of ours and no point of anybody's curve."""
    kept = trainer.callback_handler.callbacks
    trainer.callback_handler.callbacks = []
    try:
        yield
    finally:
        trainer.callback_handler.callbacks = kept


class GradientsAgree(TrainerCallback):
    """Before the first update: all processes hold the same gradient, or training stops."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None,
                              **_: Any) -> None:
        group = processes()
        if group.num_processes == 1 or state.global_step > 0 or group.distributed_type == "FSDP":
            return
        own = sum(float(p.grad.double().square().sum()) for p in model.parameters()
                  if p.grad is not None)
        every = gather_object([own])
        if max(every) - min(every) > 1e-4 * max(every):
            raise SelfTestError(f"the processes hold different gradients (squared norms {every}): "
                                "each trains alone. Use torchrun, or training.processes=1.")
