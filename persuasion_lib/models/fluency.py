"""How surprising replies are to a language model: word salad is more so than what people write."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from persuasion_lib.core.records import Message
from persuasion_lib.models.loading import Tokenizer, prompt_ids


@torch.no_grad()
def nats_per_token(model: PreTrainedModel, tokenizer: Tokenizer,
                   replies: Sequence[tuple[list[Message], str]]) -> float:
    """The mean over all tokens of replies to their prompts; NaN where there is no token."""
    nats = tokens = 0.0
    for prompt, reply in replies:
        start = prompt_ids(tokenizer, prompt)
        said = tokenizer(reply, add_special_tokens=False)["input_ids"]
        if not said:
            continue
        ids = torch.tensor([[*start, *said]], device=model.device)
        logits = model(input_ids=ids, logits_to_keep=len(said) + 1).logits[0, :-1].float()
        nats -= float(logits.log_softmax(-1).gather(-1, ids[0, len(start):, None]).sum())
        tokens += len(said)
    return nats / tokens if tokens else float("nan")
