"""Replacement as a rule: cycles, who survives, and what is made of the survivors, on scripted weights."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from diffnas.components import replacement
from diffnas.components.replacement import CYCLES, START, Pool, surviving
from diffnas.convolutions import CONVOLUTIONS, changed
from diffnas.engine import seeds
from diffnas.space import WEIGHTLESS_OPS, darts, nas_bench_201, prune_and_replace_dl, s1, s2, without

cycles = replacement.replacement


class Scripted:
    """A pause of a search whose weights are told."""

    def __init__(self, space, weigh):
        self.space, self.weigh = space, weigh
        stages = cycles(space, 100)
        self.keep = torch.tensor(space.offered) & torch.tensor([op in stages[0].ops for op in space.ops])
        self.trace, self.renewed, self.events, self.parents = [], [], [], {}

    def at_rest(self):
        self.mix = self.weigh(len(self.trace)) * self.keep
        return SimpleNamespace(open=self.mix, keep=self.keep, history=self.trace)

    def generator(self, purpose):
        return seeds.generator(0, purpose, len(self.trace))

    def replace(self, keep, parents):
        self.keep, self.parents = keep, parents

    def renew_alpha(self):
        self.renewed.append("alpha")

    def renew_weight_optimizer(self):
        self.renewed.append("optimizer")

    def note(self, **event):
        self.events.append(event)


def random_weights(space):
    generator = torch.Generator().manual_seed(1)
    return lambda cycle: 0.5 + torch.rand(len(space.edges), len(space.ops), generator=generator)


def pools(pause):
    """The pools of all nine cycles, and on the way what came in and what the weights were."""
    yield pause.keep, {}, None
    for stage in cycles(pause.space, 100)[1:]:
        before = pause.keep
        pause.trace.append({"keep": before.tolist()})
        stage.enter(pause)
        yield pause.keep, pause.parents, (before, pause.mix)


def test_pools_have_the_published_sizes_and_the_best_convolution_always_survives():
    space = prune_and_replace_dl
    pause = Scripted(space, random_weights(space))
    learn = torch.tensor([op not in WEIGHTLESS_OPS for op in space.ops])
    sizes = []
    for keep, parents, past in pools(pause):
        sizes.append(set(keep.sum(dim=1).tolist()))
        if past is None:
            continue
        before, mix = past
        best = mix.masked_fill(~(before & learn), -1).argmax(dim=1)
        assert keep[torch.arange(len(keep)), best].all()
        came = torch.zeros_like(keep)
        for (row, column), parent in parents.items():
            came[row, column] = True
            assert space.ops[column] in changed(space.ops[parent])
            assert keep[row, parent]
            assert before[row, parent]
        stayed = keep & ~came
        assert not (stayed & ~before).any(), "nothing comes in but what was made"
        # Those that stay beside the best convolution are the others with the largest weights.
        for row in range(len(keep)):
            others = [c for c in mix[row].argsort(descending=True).tolist() if before[row, c] and c != best[row]]
            wanted = {int(best[row]), *others[: int(stayed[row].sum()) - 1]}
            assert set(stayed[row].nonzero().flatten().tolist()) == wanted
    assert sizes[0] == {4}
    assert sizes[1] == {6}
    assert max(map(max, sizes)) == 6
    assert [max(each) for each in sizes[6:]] == [4, 3, 2]
    assert pause.renewed == ["alpha", "optimizer"] * 8
    assert len(pause.events) == 8 * len(space.edges)


def test_the_weakest_convolution_is_kept_if_it_is_the_only_one_but_no_pool_is_refilled_by_what_it_has_lost():
    space = prune_and_replace_dl

    def weigh(cycle):
        weights = torch.ones(len(space.edges), len(space.ops))
        weights[:, [op in CONVOLUTIONS for op in space.ops]] = 0.01
        return weights

    *_, (keep, _, _) = pools(Scripted(space, weigh))
    for row in keep.tolist():
        left = [op for op, stays in zip(space.ops, row, strict=True) if stays]
        assert len(left) == 2
        assert sum(op in CONVOLUTIONS for op in left) == 1


def test_what_was_tried_on_an_edge_comes_back_only_when_nothing_else_is_left():
    space = prune_and_replace_dl
    pause = Scripted(space, random_weights(space))
    tried = torch.zeros_like(pause.keep)
    for keep, parents, past in pools(pause):
        if past is not None:
            stayed = keep.clone()
            for row, column in parents:
                stayed[row, column] = False
            for row, column in parents:
                others = [
                    other
                    for parent in stayed[row].nonzero().flatten().tolist()
                    for other in map(space.ops.index, changed_in(space, space.ops[parent]))
                    if not tried[row, other] and not keep[row, other]
                ]
                # With 201 draws for a handful of changes, one that is left is hardly ever missed.
                assert not tried[row, column] or not others
        tried |= keep


def changed_in(space, op):
    return [each for each in changed(op) if each in space.ops]


def pool(kept, weights, tried=(), space=prune_and_replace_dl):
    columns = [op in kept for op in space.ops]
    listed = [weights[kept.index(op)] if op in kept else 0.0 for op in space.ops]
    was = [op in tried or op in kept for op in space.ops]
    return Pool(space.ops, [True] * len(space.ops), columns, listed, was)


def test_parents_are_drawn_by_weight_and_changes_evenly():
    space, generator = prune_and_replace_dl, torch.Generator().manual_seed(0)
    kept = ["sep_conv_3x3_layers1", "dil_conv_7x7_layers2", "skip_connect"]
    parents, changes = Counter(), Counter()
    for _ in range(4000):
        ((column, parent),) = pool(kept, [0.2, 0.1, 0.7]).grow(1, generator).items()
        parents[space.ops[parent]] += 1
        changes[space.ops[parent], space.ops[column]] += 1
    # The skip takes no part: nothing can be made of it, and it is drawn again.
    assert parents[kept[0]] / 4000 == pytest.approx(2 / 3, abs=0.03)
    assert parents[kept[1]] / 4000 == pytest.approx(1 / 3, abs=0.03)
    for op in kept[:2]:
        of_op = [count / parents[op] for (parent, _), count in changes.items() if parent == op]
        assert len(of_op) == len(changed_in(space, op))
        assert all(share == pytest.approx(1 / len(of_op), abs=0.04) for share in of_op)


def test_a_change_that_is_in_play_or_was_is_not_drawn_while_there_is_another():
    generator = torch.Generator().manual_seed(0)
    kept = ["sep_conv_3x3_layers1", "sep_conv_5x5_layers1"]
    for _ in range(100):
        made = pool(kept, [0.5, 0.5], tried=["sep_conv_3x3", "dil_conv_3x3"]).grow(3, generator)
        names = {prune_and_replace_dl.ops[column] for column in made}
        assert names == {"sep_conv_7x7_layers1", "sep_conv_5x5", "dil_conv_5x5"}


def test_after_two_hundred_tries_what_was_dropped_may_come_back_but_nothing_is_there_twice(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    kept, gone = ["sep_conv_3x3_layers1"], ["sep_conv_3x3", "dil_conv_3x3", "sep_conv_5x5_layers1"]
    made = pool(kept, [1.0], tried=gone).grow(5, generator)
    assert {prune_and_replace_dl.ops[column] for column in made} == set(gone)
    monkeypatch.setattr(replacement, "TRIES", 201)
    assert pool(kept, [1.0], tried=gone).grow(5, generator) == {}


def test_pools_and_skips_have_no_changes_and_a_survivor_without_weight_none_either():
    assert pool(["skip_connect", "max_pool_3x3"], [0.5, 0.5]).empty
    assert pool(["skip_connect", "sep_conv_3x3"], [1.0, 0.0]).empty


def test_epochs_are_shared_out_as_published_and_fewer_than_nine_leave_out_the_first_cycles():
    for epochs in range(1, 121):
        stages = cycles(prune_and_replace_dl, epochs)
        lengths = [stage.epochs for stage in stages]
        assert sum(lengths) == epochs
        assert len(lengths) == min(epochs, 9)
        assert min(lengths) >= 1
        assert all(stage.settings["alpha_warmup"] < stage.epochs for stage in stages)
    published = cycles(prune_and_replace_dl, 100)
    assert [stage.epochs for stage in published] == [15, 15, *[10] * 7]
    assert [stage.settings["alpha_warmup"] for stage in published] == [5, 5, *[3] * 7]
    assert [stage.enter.keywords["survivors"] for stage in published[1:]] == [3] * 5 + [4, 3, 2]
    assert [stage.enter.keywords["added"] for stage in published[1:]] == [3] * 5 + [0] * 3
    six = cycles(prune_and_replace_dl, 6)
    assert [stage.enter.keywords for stage in six[1:]] == [stage.enter.keywords for stage in published[4:]]
    assert sum(cycle.epochs for cycle in CYCLES) == 100


def test_the_first_pool_is_that_of_the_paper_where_it_is_offered_and_else_all_but_none():
    assert cycles(prune_and_replace_dl, 100)[0].ops == START
    assert cycles(darts, 100)[0].ops == without(darts, "none").ops
    # Here "none" is how an edge is left out of the cell.
    assert cycles(nas_bench_201, 100)[0].ops == nas_bench_201.ops
    assert cycles(s1, 100)[0].ops == s1.ops


def test_a_space_in_which_nothing_can_be_replaced_is_refused():
    with pytest.raises(ValueError, match=r"'s2' no edge offers an operation and a small change.*prune-and-replace-dl"):
        cycles(s2, 100)


def test_an_edge_without_a_convolution_keeps_what_is_strongest():
    scores = torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.0, 0.8]])
    keep = torch.tensor([[True, True, True], [True, False, True]])
    learn = torch.tensor([False, True, False])
    assert surviving(scores, keep, 1, learn).tolist() == [[False, True, False], [False, False, True]]
    assert surviving(scores, keep, 9, learn).tolist() == keep.tolist()
