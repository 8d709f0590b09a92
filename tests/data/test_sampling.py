"""The order of the data: a function of seed, epoch and position; never of the topology."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abet.batching import BatchPlan, plan_batches
from abet.config import BatchConfig
from abet.data.epochs import EpochLists
from abet.data.sampling import (
    SampleKey,
    micro_batches,
    replacements,
    sample_rng,
    steps_per_epoch,
)
from abet.errors import DataError, UsageError

COUNT = 29
LISTS = EpochLists(seed=7, images=COUNT)
TOPOLOGIES = [
    (per_gpu, processes, 12 // (per_gpu * processes))
    for per_gpu in range(1, 13)
    for processes in range(1, 13)
    if 12 % (per_gpu * processes) == 0
]


def plan(per_gpu, processes, accumulation):
    total = per_gpu * processes * accumulation
    return BatchPlan(global_batch=total, batch_per_gpu=per_gpu, processes=processes, accumulation=accumulation)


def steps_of(shared, *, start_step, steps):
    """What all ranks together take in each step, in no order."""
    ranks = [micro_batches(shared, rank, LISTS, start_step) for rank in range(shared.processes)]
    return [
        {key for rank in ranks for batch in islice(rank, shared.accumulation) for key in batch} for _ in range(steps)
    ]


def batch(global_batch, per_gpu, accumulation=None):
    return BatchConfig(global_batch=global_batch, batch_per_gpu=per_gpu, accumulation=accumulation)


def test_random_numbers_of_a_crop_follow_from_seed_epoch_and_position_alone():
    def numbers(seed, *key):
        return tuple(sample_rng(seed, SampleKey(*key)).random(4))

    assert numbers(1, 2, 3, 4) == numbers(1, 2, 3, 5)  # another image in that place
    assert len({numbers(seed, epoch, position, 0) for seed in (0, 1) for epoch in (0, 1) for position in (0, 1)}) == 8


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=str)
def test_every_topology_takes_the_same_global_batches(topology):
    """29 images in steps of 12: five dropped in each epoch."""
    found = steps_of(plan(*topology), start_step=0, steps=5)
    for step, keys in enumerate(found):
        epoch, first = step // 2, step % 2 * 12
        wanted = range(first, first + 12)
        assert keys == {SampleKey(epoch, place, LISTS.crops(epoch)[place].image, None) for place in wanted}


def test_ranks_share_nothing_and_micro_batches_have_their_size():
    shared = plan(2, 3, 2)
    taken = [list(islice(micro_batches(shared, rank, LISTS, 0), 4)) for rank in range(3)]
    assert all(len(keys) == 2 for batches in taken for keys in batches)
    assert len({key for batches in taken for keys in batches for key in keys}) == 24


@settings(max_examples=25)
@given(st.sampled_from(TOPOLOGIES), st.integers(0, 9))
def test_going_on_at_a_step_equals_never_having_stopped(topology, start):
    shared = plan(*topology)
    assert steps_of(shared, start_step=start, steps=3) == steps_of(shared, start_step=0, steps=start + 3)[start:]


def test_the_order_of_a_rank_is_kept_over_a_resume():
    shared = plan(2, 3, 2)
    whole = list(islice(micro_batches(shared, 1, LISTS, 0), 20))
    assert list(islice(micro_batches(shared, 1, LISTS, 4), 12)) == whole[8:]


def test_fewer_images_than_a_batch_are_an_error_at_once_that_names_both():
    with pytest.raises(DataError, match=r"11 crops .* global batch of 12 .*batch.global_batch to 11"):
        micro_batches(plan(12, 1, 1), 0, EpochLists(seed=0, images=11), 0)
    assert steps_per_epoch(12, plan(12, 1, 1)) == 1
    assert steps_per_epoch(35, plan(12, 1, 1)) == 2


def test_replacements_are_other_images_each_once_and_always_the_same():
    found = replacements(3, SampleKey(0, 5, 4), 20, limit=9)
    assert len(set(found)) == len(found) == 9
    assert set(found) <= set(range(20)) - {4}
    assert found == replacements(3, SampleKey(0, 5, 4), 20, limit=9)
    assert found != replacements(3, SampleKey(1, 5, 4), 20, limit=9)
    assert sorted(replacements(3, SampleKey(0, 0, 1), 4, limit=9)) == [0, 2, 3]


@settings(max_examples=300)
@given(
    st.integers(1, 24),
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(1, 6)),
    st.integers(1, 9),
    st.booleans(),
)
def test_a_plan_multiplies_up_or_names_only_choices_that_work(total, per_gpu, accumulation, processes, synchronised):
    def accepted(*numbers, on=processes):
        try:
            return plan_batches(batch(*numbers), on, synchronised)
        except UsageError as error:
            return str(error)

    found = accepted(total, per_gpu, accumulation)
    exists = accumulation is None or per_gpu * processes * accumulation == total
    if total % (per_gpu * processes) == 0 and exists and per_gpu * (processes if synchronised else 1) > 1:
        assert isinstance(found, BatchPlan)
        assert (found.global_batch, found.batch_per_gpu, found.processes) == (total, per_gpu, processes)
        assert found.accumulation == total // (per_gpu * processes)
        return
    assert isinstance(found, str)
    assert f"batch_per_gpu {per_gpu}" in found
    if "can be: " in found:
        for text in found.split("can be: ")[1].split(", "):
            assert isinstance(accepted(total, *map(int, text.split(" x "))), BatchPlan)
        return
    for number in numbers_after("works on ", found) if "works on " in found else []:
        assert any(isinstance(accepted(total, size, on=number), BatchPlan) for size in range(1, total + 1))
    size = numbers_after("with batch_per_gpu ", found)[0]
    for number in numbers_after("the nearest global_batch is ", found):
        assert isinstance(accepted(number, size), BatchPlan)


def numbers_after(words, text):
    """The numbers of "words 1, 2 or 3"."""
    tail = text.split(words)[1].replace(" or ", ", ").split(" ")
    numbers = []
    for word in tail:
        if not word.strip(",").isdigit():
            break
        numbers.append(int(word.strip(",")))
        if not word.endswith(","):
            break
    assert numbers, text
    return numbers


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_one_recipe_serves_any_number_of_gpus_that_divides_it(processes):
    assert plan_batches(batch(16, 2), processes, True).accumulation == 8 // processes


def test_the_message_gives_the_numbers_and_the_pairs_for_these_processes():
    with pytest.raises(UsageError) as caught:
        plan_batches(batch(16, 3), 2, True)
    assert str(caught.value) == (
        "batch.global_batch 16 is not a multiple of batch_per_gpu 3 x 2 processes = 6. "
        "On 2 processes batch_per_gpu x accumulation can be: 1 x 8, 2 x 4, 4 x 2, 8 x 1"
    )


def test_the_message_gives_other_numbers_of_processes_where_these_do_not_divide():
    with pytest.raises(UsageError) as caught:
        plan_batches(batch(16, 2, 4), 3, True)
    assert str(caught.value) == (
        "batch.global_batch 16 is not batch_per_gpu 2 x 3 processes x accumulation 4. "
        "A global_batch of 16 works on 1, 2, 4, 8 or 16 processes. "
        "On 3 processes, with batch_per_gpu 2 and accumulation null, the nearest global_batch is 12 or 18"
    )


def test_batch_statistics_need_two_crops():
    assert plan_batches(batch(2, 1), 2, True).accumulation == 1
    with pytest.raises(UsageError, match=r"two crops .* without sync_batch_norm .* On 2 .* can be: 2 x 2, 4 x 1$"):
        plan_batches(batch(8, 1), 2, False)
    with pytest.raises(UsageError, match="two crops at least"):
        plan_batches(batch(1, 1), 1, True)


def test_a_class_uniform_epoch_hands_each_crop_its_centroid():
    places = [np.array([[3, 10, 20]], np.int32), np.array([[5, 30, 40], [6, 50, 60]], np.int32)]
    lists = EpochLists(seed=7, images=24, share=0.5, places=places)
    shared = plan(4, 3, 1)
    keys = set().union(*(next(micro_batches(shared, rank, lists, step)) for rank in range(3) for step in range(2)))
    assert keys == {SampleKey(0, position, *lists.crops(0)[position]) for position in range(24)}
    assert {(key.image, key.centroid) for key in keys if key.centroid} == {(3, (10, 20)), (5, (30, 40)), (6, (50, 60))}
