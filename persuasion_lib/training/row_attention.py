"""Attention within one row that holds a batch, in which what several rows begin with stands once.

On a CPU it goes stretch by stretch, by plain products; on a GPU all rows go in one call, where
the many small kernels of stretches would take longer than the padding.
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

BLOCK_ROWS = 128    # queries at a time on a CPU
ALIGNED = 8         # rows of a mask begin at multiples of so many, or a GPU copies it each time


@dataclass(frozen=True)
class Layout:
    """A batch in one row, in which what several rows begin with stands once.

    `tokens` and `positions` have shape (1, T). `parts` has the lengths of the stretches that the
    row is made of: of pairs, prompt, chosen and rejected of the first, of the second, and so on.
    `follows` has for each the number of the stretch that it goes on from, None for a first one.
    `predicting` has, for every completion token in the order of trl's batch (all chosen rows, then
    all rejected ones), the index of the token before it.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    parts: list[int]
    follows: list[int | None]
    predicting: torch.Tensor

    @functools.cached_property
    def grid(self) -> "Grid":
        """The stretches that hang together as rows of a batch, for attention in one call."""
        return _grid(self)


@dataclass(frozen=True)
class Grid:
    """Each first stretch with all that go on from it is a row, padded to `length`.

    `places` has the token of the layout at each place of the rows, flat; `back` the place of each
    token; `sees`, of shape (rows, 1, length, length), is true where a query may look at a key.
    """

    length: int
    places: torch.Tensor
    back: torch.Tensor
    sees: torch.Tensor


def _grid(layout: Layout) -> Grid:
    """Rows of the stretches of a layout, in which those of a row follow each other."""
    stretches = len(layout.parts)
    before = torch.eye(stretches + 1, dtype=torch.bool)     # whose tokens each sees; last: padding
    row_of: list[int] = []
    rows = 0
    for number, previous in enumerate(layout.follows):
        if previous is None:
            row_of.append(rows)
            rows += 1
        else:
            row_of.append(row_of[previous])
            before[number] |= before[previous]
    stretch = torch.arange(stretches).repeat_interleave(torch.tensor(layout.parts))
    row = torch.tensor(row_of)[stretch]
    sizes = row.bincount()
    length = -(-int(sizes.max()) // ALIGNED) * ALIGNED
    starts = sizes.cumsum(0) - sizes
    back = row * length + torch.arange(len(row)) - starts[row]
    places = torch.zeros(len(sizes) * length, dtype=torch.long)
    places[back] = torch.arange(len(row))
    owner = torch.full((len(sizes), length), stretches)
    owner.view(-1)[back] = stretch
    device = layout.tokens.device
    owner, before, places, back = (x.to(device) for x in (owner, before, places, back))
    at = layout.positions[0][places].view(owner.shape)
    sees = before[owner[:, :, None], owner[:, None]] & (at[:, None] <= at[:, :, None])
    return Grid(length, places, back, sees[:, None])


def attend(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
           attention_mask: torch.Tensor | None, scaling: float | None = None,
           dropout: float = 0.0, layout: Layout | None = None,
           **kwargs: Any) -> tuple[torch.Tensor, None]:
    """Attention of a row with a layout; without one (in generation, say) the usual.

    Shapes (1, heads, T, size) to (1, T, heads, size), as transformers asks of its functions.
    """
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout,
                                      scaling=scaling, **kwargs)
    if query.device.type == "cpu" and dropout == 0:
        return _by_stretches(query, key, value, layout, scaling), None
    return _by_rows(query, key, value, layout.grid, scaling, dropout), None


def _by_rows(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grid: Grid,
             scaling: float | None, dropout: float) -> torch.Tensor:
    """One call of torch's own kernels: on a GPU many small ones cost more than some padding."""
    groups = query.shape[1] // key.shape[1]
    query, key, value = (
        x[0].index_select(1, grid.places).unflatten(1, (-1, grid.length)).transpose(0, 1)
        for x in (query, key, value))
    found = scaled_dot_product_attention(
        query, repeat_kv(key, groups), repeat_kv(value, groups), attn_mask=grid.sees,
        dropout_p=dropout, scale=scaling)
    return found.transpose(1, 2).flatten(0, 1).index_select(0, grid.back)[None]


def _by_stretches(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout,
                  scaling: float | None) -> torch.Tensor:
    """Stretch by stretch, without padding and without a mask over all."""
    # Split, not sliced: the gradient of a split is one concatenation, of each slice a whole row.
    stretches = zip(*(x.split(layout.parts, 2) for x in (query, key, value)), strict=True)
    seen: list[list[torch.Tensor]] = []     # keys and values up to the end of each stretch
    found = []
    for (asking, *own), before in zip(stretches, layout.follows, strict=True):
        seen.append(own if before is None else
                    [torch.cat(both, 2) for both in zip(seen[before], own, strict=True)])
        found.append(_blockwise(asking, *seen[-1], scaling))
    return torch.cat(found, 2).transpose(1, 2).contiguous()


def _blockwise(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
               scaling: float | None) -> torch.Tensor:
    """Causal attention of the last queries to all keys, from plain products, in blocks.

    On CPUs torch's own backward pass takes two to three times as long as these products; heads
    that share keys are rows of one product. Shapes (1, heads, length, size).
    """
    shared = key.shape[1]
    length, size = query.shape[2:]
    seen = key.shape[2]
    found = []
    for number, block in enumerate(query.view(shared, -1, length, size).split(BLOCK_ROWS, 2)):
        heads, rows = block.shape[1:3]
        # The queries are the last of what is seen: this block sees the keys up to its own end,
        # and the mask need only hide the triangle within it.
        last = seen - length + number * BLOCK_ROWS + rows
        mask = query.new_full((rows, last), -torch.inf).triu(last - rows + 1).repeat(heads, 1)
        scores = torch.baddbmm(mask, block.reshape(shared, heads * rows, size),
                               key[0, :, :last].transpose(1, 2), alpha=scaling or size ** -.5)
        found.append((scores.softmax(-1) @ value[0, :, :last]).view(1, -1, rows, value.shape[3]))
    return torch.cat(found, 2)
