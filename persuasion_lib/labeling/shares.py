"""Which pairs each of several annotators is asked about."""

from collections.abc import Collection, Mapping, Sequence

from persuasion_lib.core.records import Pair, content_id


def shared_pairs(pairs: Sequence[Pair], *, seed: int, overlap: float) -> set[str]:
    """The ids of the pairs that everybody labels: the first `overlap` of an order by hash.

    Everybody, and not two: only so can every person be compared with every other one, and only so
    has a pair of three people's labels a majority.
    """
    order = sorted(pairs, key=lambda pair: content_id("overlap", seed, pair.pair_id))
    return {pair.pair_id for pair in order[:round(overlap * len(order))]}


def assigned(pairs: Sequence[Pair], names: Sequence[str], *, seed: int, overlap: float,
             answered: Mapping[str, Collection[str]],
             left: Collection[str] = ()) -> dict[str, list[Pair]]:
    """The pairs of each annotator: the overlap, what they have answered, and their share.

    A pair goes to whoever has the highest hash with it (rendezvous hashing), so somebody who joins
    takes a part of everybody's and moves no other pair; one that somebody has answered stays
    theirs. The pairs of people who `left` go to the others in the same way.
    """
    shared = shared_pairs(pairs, seed=seed, overlap=overlap)
    done = {pair_id for ids in answered.values() for pair_id in ids}
    at_work = [name for name in names if name not in left]

    def is_asked(name: str, pair_id: str) -> bool:
        if pair_id in answered.get(name, ()):
            return True
        if name in left or pair_id in done - shared:
            return False
        return pair_id in shared or name == max(
            at_work, key=lambda other: content_id("share", seed, other, pair_id))

    return {name: [pair for pair in pairs if is_asked(name, pair.pair_id)] for name in names}
