"""Packed SFT: a batch is one row without padding, and what its rows begin with is computed once.

Rows that were cut from one conversation are prefixes of each other: the reply of one is history
in the next. So a batch is laid out as a tree of token sequences. What several rows begin with
stands once, targets may lie anywhere, and a row that is the beginning of another costs nothing
but its targets. Tokens decide, not messages: where a template or a cut prompt makes two
histories differ, they part at the first token that differs.

Attention, head and checks are those of shared_prefix, of whose pairs this is the general case;
trl's trainer, its loss over all targets of an update and its gradients stay as they are.
`sft.engine: trl` is the stock path, against which the tests compare.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import torch
from torch.utils.data import Sampler
from transformers import PreTrainedModel

from persuasion_lib.training.row_attention import Layout
from persuasion_lib.training.shared_prefix import IGNORED, compute_in_one_row

LEAST_SHARED = 8    # tokens that must be the same before they are computed once
ALIKE = 0.5         # share of the shorter row; rows that have more in common share a batch


def pack_rows(model: PreTrainedModel, longest: int) -> None:
    """Make a model that trl's SFTTrainer has prepared compute each batch as one packed row.

    Raises:
        ConfigError: the architecture does not fit, or a row is longer than its attention sees.
    """
    compute_in_one_row(model, longest, lay_out_rows, "sft.engine packed")


@dataclass
class _Tree:
    """Token sequences, of which what they share stands once."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    follows: list[int | None] = field(default_factory=list)
    leaves: list[list[int]] = field(default_factory=list)   # the place of each token, by sequence

    def grow(self, rows: Sequence[list[int]], start: int, before: int | None,
             places: list[int]) -> None:
        """Add sorted rows, none the beginning of another, that are alike up to `start`.

        `before` is the stretch that they follow and `places` where their first tokens are.
        """
        shared = shared_start(rows[0], rows[-1])        # of all: they are sorted
        if len(rows) == 1 or shared - start >= LEAST_SHARED:
            at = len(self.tokens)
            self.tokens += rows[0][start:shared]
            self.positions += range(start, shared)
            self.parts.append(shared - start)
            self.follows.append(before)
            before = len(self.parts) - 1
            places = [*places, *range(at, len(self.tokens))]
            start = shared
        if len(rows) == 1:
            self.leaves.append(places)
            return
        for _, branch in groupby(rows, lambda row: row[shared]):
            self.grow([*branch], start, before, places)


def lay_out_rows(input_ids: torch.Tensor, labels: torch.Tensor) -> Layout:
    """The layout of trl's batch, ids and labels of shape (rows, length), padded on the right.

    The last target of a row is predicted and need not be read, nor what may come after it.
    """
    before_targets = [row.nonzero()[:, 0].tolist() for row in (labels[:, 1:] != IGNORED).cpu()]
    rows = [ids[:places[-1] + 1] if places else []
            for ids, places in zip(input_ids.tolist(), before_targets, strict=True)]
    order = sorted(range(len(rows)), key=rows.__getitem__)
    # A row that begins another is followed by one that it begins, for they are sorted.
    last_of = [rows[b][:len(rows[a])] != rows[a] for a, b in pairwise(order)] + [True]
    tree = _Tree()
    tree.grow([rows[row] for row, is_last in zip(order, last_of, strict=True) if is_last],
              0, None, [])
    leaf = 0
    predicting: list[list[int]] = [[] for _ in rows]
    for row, is_last in zip(order, last_of, strict=True):
        predicting[row] = [tree.leaves[leaf][at] for at in before_targets[row]]
        leaf += is_last
    device = input_ids.device
    return Layout(torch.tensor([tree.tokens], device=device),
                  torch.tensor([tree.positions], device=device), tree.parts, tree.follows,
                  torch.tensor([at for row in predicting for at in row], device=device))


def shared_start(a: Sequence[int], b: Sequence[int]) -> int:
    """The number of tokens with which both begin."""
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y),
                min(len(a), len(b)))


def conversations(rows: Sequence[list[int]]) -> list[list[int]]:
    """The numbers of rows that belong together, shortest first, in groups.

    They are found by their tokens: sorted, a row joins the one before it if more than ALIKE of
    the shorter one is the same, as a reply and the next of one dialogue or two replies to one
    post.
    """
    groups: list[list[int]] = []
    order = sorted(range(len(rows)), key=rows.__getitem__)
    for number, row in enumerate(order):
        before = rows[order[number - 1]] if number else []
        least = ALIKE * min(len(before), len(rows[row]))
        if number and shared_start(before, rows[row]) > least:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


class TogetherSampler(Sampler[int]):
    """All rows once an epoch: groups in an order drawn from the seed, each without a gap."""

    def __init__(self, groups: Sequence[Sequence[int]], seed: int) -> None:
        self.groups = groups
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch, one that is resumed too."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def __iter__(self) -> Iterator[int]:
        drawn = torch.Generator().manual_seed(self.seed + self.epoch)
        for group in torch.randperm(len(self.groups), generator=drawn).tolist():
            yield from self.groups[group]
