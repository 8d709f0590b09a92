"""Pixel states: the same for any order, sharding and buffering; canonical; safe to read back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abet.errors import DataError
from abet.labels import ID, OOD, VOID
from abet.metrics.keys import is_valid, to_keys, to_scores
from abet.metrics.pixel import MAX_BINS, MAX_PIXELS, MIN_BINS, PixelCounter, PixelState
from tests.metrics.strategies import LIMITS, crowds


def to_bytes(state: PixelState) -> dict[str, bytes]:
    return {name: array.dtype.str.encode() + array.tobytes() for name, array in state.to_arrays().items()}


def bins_of(state: PixelState) -> list[tuple[int, ...]]:
    return [tuple(map(int, row)) for row in zip(*state.runs, strict=True)]


def naive(scores, labels, max_bins) -> tuple[int, list[tuple[int, ...]]]:
    """Shift and bins by the definition: sets and dictionaries."""
    rows = [(int(k), int(lab)) for k, lab in zip(to_keys(scores), labels, strict=True) if lab != VOID]
    shift = next(s for s in range(33) if len({k >> s for k, _ in rows}) <= max_bins)
    bins: dict[int, list[tuple[int, int]]] = {}
    for k, lab in sorted(rows):
        bins.setdefault(k >> shift, []).append((k, lab))
    return shift, [
        (members[0][0], members[-1][0], sum(lab == ID for _, lab in members), sum(lab == OOD for _, lab in members))
        for _, members in sorted(bins.items())
    ]


@given(crowds(), LIMITS)
def test_a_state_is_its_definition(drawn, max_bins):
    scores, labels = drawn
    state = PixelState.count(scores, labels, max_bins=max_bins)
    assert (state.shift, bins_of(state)) == naive(scores, labels, max_bins)
    assert state.non_finite_id == np.count_nonzero(~np.isfinite(scores[labels == ID]))
    assert state.non_finite_ood == np.count_nonzero(~np.isfinite(scores[labels == OOD]))
    assert (state.id_pixels, state.ood_pixels) == (np.count_nonzero(labels == ID), np.count_nonzero(labels == OOD))


@given(crowds(), LIMITS, st.randoms(use_true_random=False))
def test_order_shards_and_grouping_leave_no_trace(drawn, max_bins, random):
    scores, labels = drawn
    whole = to_bytes(PixelState.count(scores, labels, max_bins=max_bins))
    order = np.array(random.sample(range(scores.size), scores.size), np.intp)
    shards = [
        PixelState.count(scores[part], labels[part], max_bins=max_bins)
        for part in np.array_split(order, random.randint(1, 5))
    ]
    random.shuffle(shards)
    assert to_bytes(PixelState.merge(*shards)) == whole
    while len(shards) > 1:  # pairwise, in a random tree
        random.shuffle(shards)
        shards.append(PixelState.merge(shards.pop(), shards.pop()))
    assert to_bytes(shards[0]) == whole


@given(crowds(), LIMITS, st.sampled_from([1, 9, 100, 600, 5000]), st.integers(1, 4))
def test_buffering_leaves_no_trace(drawn, max_bins, buffer_pixels, images):
    scores, labels = drawn
    counter = PixelCounter(max_bins=max_bins, buffer_pixels=buffer_pixels)
    for part in np.array_split(np.arange(scores.size), images):
        counter.add(scores[part], labels[part])
    assert to_bytes(counter.state()) == to_bytes(PixelState.count(scores, labels, max_bins=max_bins))


def test_a_coarse_state_of_default_size_is_canonical_and_small():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3, 800_000)).astype(np.float32)
    labels = (rng.random(scores.shape) < 0.02).astype(np.uint8)
    whole = PixelState.count(scores, labels)
    keys = np.sort(to_keys(scores).ravel())
    finer, chosen = (
        1 + np.count_nonzero(np.diff(keys >> np.uint32(shift))) for shift in (whole.shift - 1, whole.shift)
    )
    assert finer > MAX_BINS >= chosen == whole.low_key.size
    shards = [PixelState.count(*shard) for shard in zip(scores, labels, strict=True)]
    assert to_bytes(PixelState.merge(*shards[::-1])) == to_bytes(whole)


def test_the_worst_case_fits_with_a_shift_of_twelve():
    every_bin = np.arange(2**20, dtype=np.uint32) << np.uint32(12)
    keys = np.concatenate([every_bin, every_bin + np.uint32(4095)])
    scores = to_scores(keys[is_valid(keys)])
    state = PixelState.count(scores, np.zeros(scores.size, np.uint8))
    assert state.shift == 12
    assert state.low_key.size <= MAX_BINS


def test_the_smallest_limit_fits_with_a_shift_of_twenty_three_and_mixes_no_infinity_with_a_number():
    block_ends = (np.arange(512, dtype=np.uint32) << np.uint32(23))[:, None] + np.array(
        [0, 1, 2**22, 2**23 - 1], np.uint32
    )
    keys = block_ends[is_valid(block_ends)]
    state = PixelState.count(to_scores(keys), np.ones(keys.size, np.uint8), max_bins=MIN_BINS)
    assert state.shift == 23
    ends = np.stack([to_scores(state.low_key), to_scores(state.high_key)])
    np.testing.assert_array_equal(*np.isfinite(ends))
    np.testing.assert_array_equal(ends[:, [0, -1]], [[-np.inf, np.inf], [-np.inf, np.nan]])
    assert (state.non_finite_id, state.non_finite_ood) == (0, 3)


def test_counting_may_go_on_after_a_state_was_taken():
    counter = PixelCounter()
    counter.add(np.float32([1, 2]), np.uint8([ID, OOD]))
    before = counter.state()
    frozen = to_bytes(before)
    counter.add(np.float32([2, 3]), np.uint8([OOD, OOD]))
    assert to_bytes(before) == frozen
    expected = PixelState.count(np.float32([1, 2, 2, 3]), np.uint8([ID, OOD, OOD, OOD]))
    assert to_bytes(counter.state()) == to_bytes(expected)


def test_zeros_are_one_score_and_void_is_none():
    state = PixelState.count(np.float32([0.0, -0.0, 5.0]), np.uint8([ID, OOD, VOID]))
    assert bins_of(state) == [(0x80000000, 0x80000000, 1, 1)]


def test_any_shape_and_stride_counts_the_same():
    scores = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    labels = (np.arange(24) % 2).astype(np.uint8).reshape(2, 3, 4)
    assert to_bytes(PixelState.count(scores[:, ::-1, ::2], labels[:, ::-1, ::2])) == to_bytes(
        PixelState.count(scores[:, ::-1, ::2].ravel().copy(), labels[:, ::-1, ::2].ravel().copy())
    )


def test_nothing_merges_into_nothing():
    assert to_bytes(PixelState.merge()) == to_bytes(PixelState.merge(PixelState.empty(), PixelState.empty()))


@pytest.mark.parametrize(
    ("scores", "labels", "says"),
    [
        (np.zeros(2, np.float64), np.zeros(2, np.uint8), "float64, not float32"),
        (np.zeros(2, np.float32), np.zeros(2, np.int64), "int64, not uint8"),
        (np.zeros(2, np.float32), np.zeros(3, np.uint8), "not of one image"),
        (np.zeros(4, np.float32), np.uint8([0, 1, 2, 255]), "1 labels are neither ID 0, OOD 1 nor VOID 255"),
        (np.zeros(4, np.float32), np.uint8([254, 7, 254, 255]), "3 labels are neither ID 0, OOD 1 nor VOID 255"),
    ],
)
def test_what_is_no_image_is_refused(scores, labels, says):
    with pytest.raises(DataError, match=says):
        PixelCounter().add(scores, labels)


@given(crowds(), LIMITS)
def test_arrays_round_trip(drawn, max_bins):
    state = PixelState.count(*drawn, max_bins=max_bins)
    assert to_bytes(PixelState.from_arrays(state.to_arrays())) == to_bytes(state)


def coarse_arrays() -> dict[str, np.ndarray]:
    scores = np.concatenate([[-np.inf], np.linspace(-2, 2, 1001), [np.nan]]).astype(np.float32)
    arrays = PixelState.count(scores, np.uint8([ID, OOD] * 501 + [ID]), max_bins=600).to_arrays()
    assert arrays["header"][0] > 0
    assert (arrays["low_key"] < arrays["high_key"]).any()
    return {name: array.copy() for name, array in arrays.items()}


DAMAGE = {
    "a missing array": lambda a: a.pop("low_key"),
    "another type": lambda a: a.update(id_count=a["id_count"].astype(np.float64)),
    "another shape": lambda a: a.update(id_count=a["id_count"][None]),
    "unequal lengths": lambda a: a.update(id_count=a["id_count"][1:]),
    "a short header": lambda a: a.update(header=a["header"][:1]),
    "a negative count": lambda a: a["id_count"].__setitem__(0, -1),
    "too many pixels": lambda a: a["id_count"].__setitem__(slice(0, 2), MAX_PIXELS),
    "an empty bin": lambda a: (a["id_count"].__setitem__(-1, 0), a["ood_count"].__setitem__(-1, 0)),
    "swapped bins": lambda a: [a[name].__setitem__(slice(None), a[name][::-1].copy()) for name in list(a)[1:]],
    "swapped ends": lambda a: a.update(low_key=a["high_key"], high_key=a["low_key"]),
    "a key of no score": lambda a: a["low_key"].__setitem__(-1, 0xFFFFFFFE),
    "a smaller shift": lambda a: a["header"].__setitem__(0, a["header"][0] - 1),
    "a larger shift": lambda a: a["header"].__setitem__(0, 23),
    "an absurd shift": lambda a: a["header"].__setitem__(0, 40),
    "a negative shift": lambda a: a["header"].__setitem__(0, -1),
    "a smaller limit": lambda a: a["header"].__setitem__(1, a["low_key"].size - 1),
    "a larger limit": lambda a: a["header"].__setitem__(1, 1003),
    "a limit that is not allowed": lambda a: a.update(
        header=np.array([0, MIN_BINS - 1]), **{name: a[name][-1:] for name in list(a)[1:]}
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_arrays_are_refused(damage):
    arrays = coarse_arrays()
    damage(arrays)
    with pytest.raises(DataError, match="not the pixel counts of one score"):
        PixelState.from_arrays(arrays)


@pytest.mark.parametrize("scores", [MIN_BINS, MIN_BINS + 1])
def test_a_coarser_bin_is_accepted_only_where_the_finer_ones_exceed_the_limit(scores):
    """Adjacent keys, two per bin of shift 1: at shift 0 they need as many bins as there are scores."""
    keys = 0x8000_0002 + np.arange(scores, dtype=np.uint32)
    pairs = np.array_split(keys, range(2, scores, 2))
    arrays = {
        "header": np.array([1, MIN_BINS]),
        "low_key": np.array([pair[0] for pair in pairs], np.uint32),
        "high_key": np.array([pair[-1] for pair in pairs], np.uint32),
        "id_count": np.array([pair.size for pair in pairs]),
        "ood_count": np.zeros(len(pairs), np.int64),
    }
    if scores > MIN_BINS:
        assert to_bytes(PixelState.from_arrays(arrays)) == to_bytes(
            PixelState.count(to_scores(keys), np.zeros(scores, np.uint8), max_bins=MIN_BINS)
        )
    else:
        with pytest.raises(DataError, match="the shift is larger than needed"):
            PixelState.from_arrays(arrays)


def with_counts(id_count: int, ood_count: int) -> PixelState:
    """A hand-made state of one score."""
    arrays = PixelState.count(np.float32([1, 1]), np.uint8([ID, OOD])).to_arrays()
    return PixelState.from_arrays({**arrays, "id_count": np.array([id_count]), "ood_count": np.array([ood_count])})


def test_counts_reach_the_limit_and_not_beyond():
    full = PixelState.merge(with_counts(2**62, 1), with_counts(2**62 - 3, 1))
    assert full.id_pixels + full.ood_pixels == MAX_PIXELS
    with pytest.raises(DataError, match="exceed the 9223372036854775807"):
        PixelState.merge(full, with_counts(1, 0))


def test_states_of_different_limits_do_not_merge():
    images = np.float32([1, 2, 3]), np.uint8([ID, OOD, ID])
    with pytest.raises(DataError, match="at most 512 and 1048576 bins"):
        PixelState.merge(PixelState.count(*images), PixelState.count(*images, max_bins=MIN_BINS))


def test_a_state_cannot_be_changed():
    state = PixelState.count(np.float32([1]), np.uint8([ID]))
    with pytest.raises(ValueError, match="read-only"):
        state.id_count[0] = 5
