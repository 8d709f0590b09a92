"""Counting on tensors gives the bytes of counting in arrays, whatever the scores."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from abet.errors import DataError
from abet.labels import ID, OOD, VOID
from abet.metrics import keys, sorted_keys, tensors
from abet.metrics.pixel import PixelCounter, PixelState
from abet.metrics.protocols import ProtocolState
from abet.metrics.tensors import ClassPlaces, TensorCounter
from tests.metrics.strategies import EXTREMES, LIMITS, crowds
from tests.metrics.test_pixel import to_bytes

CPU = torch.device("cpu")


def test_keys_are_the_same_but_for_their_highest_bit():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 10_000, np.uint32)
    scores = np.concatenate([bits.view(np.float32), np.float32(EXTREMES)])
    found = tensors.to_keys(torch.from_numpy(scores)).numpy().view(np.uint32) ^ np.uint32(2**31)
    np.testing.assert_array_equal(found, keys.to_keys(scores))


@given(crowds(), LIMITS, st.sampled_from([1, 9, 100, 600, 5000]), st.integers(1, 4))
def test_a_state_and_its_counts_below_edges_are_those_of_arrays(drawn, max_bins, buffer_pixels, images):
    scores, labels = drawn
    edges = np.unique(keys.to_keys(np.concatenate([scores[:7], np.float32(EXTREMES)])))
    theirs = PixelCounter(max_bins=max_bins, edges=edges)
    ours = TensorCounter(CPU, max_bins=max_bins, buffer_pixels=buffer_pixels, edges=edges)
    for part in np.array_split(np.arange(scores.size), images):
        theirs.add(scores[part], labels[part])
        ours.add(torch.from_numpy(scores[part]), ClassPlaces.of(labels[part], CPU))
    assert to_bytes(ours.state()) == to_bytes(theirs.state())
    np.testing.assert_array_equal(ours.below(), theirs.below())
    naive = [[np.count_nonzero(keys.to_keys(scores[labels == label]) < edge) for edge in edges] for label in (ID, OOD)]
    np.testing.assert_array_equal(ours.below(), naive)


@given(crowds(), LIMITS)
def test_what_is_counted_of_each_image_is_that_of_arrays(drawn, max_bins):
    scores, labels = drawn
    classes = tensors.sorted_classes(torch.from_numpy(scores), ClassPlaces.of(labels, CPU))
    counted = TensorCounter(CPU, max_bins=max_bins).add_sorted(*classes)
    assert to_bytes(counted) == to_bytes(PixelState.count(scores, labels, max_bins=max_bins))
    usual = TensorCounter(CPU).add_sorted(*classes)
    ours = ProtocolState.of_sorted("street", usual, *classes)
    assert to_bytes(ours) == to_bytes(ProtocolState.count("street", scores, labels))


@given(crowds(), LIMITS, st.integers(1, 4))
def test_images_that_are_sorted_already_give_the_same_state_and_counts(drawn, max_bins, images):
    scores, labels = drawn
    edges = np.unique(keys.to_keys(np.concatenate([scores[:7], np.float32(EXTREMES)])))
    wanted = PixelCounter(max_bins=max_bins, edges=edges)
    wanted.add(scores, labels)
    arrays = PixelCounter(max_bins=max_bins, buffer_pixels=1, edges=edges)
    ours = TensorCounter(CPU, max_bins=max_bins, buffer_pixels=1, edges=edges)
    for part in np.array_split(np.arange(scores.size), images):
        some, places = torch.from_numpy(scores[part]), ClassPlaces.of(labels[part], CPU)
        own = arrays.add_sorted(*sorted_keys.sorted_classes(scores[part], labels[part]))
        assert to_bytes(own) == to_bytes(PixelState.count(scores[part], labels[part], max_bins=max_bins))
        assert to_bytes(ours.add_sorted(*tensors.sorted_classes(some, places))) == to_bytes(own)
    for counter in (arrays, ours):
        assert to_bytes(counter.state()) == to_bytes(wanted.state())
        np.testing.assert_array_equal(counter.below(), wanted.below())


def test_counting_goes_on_after_a_state_was_taken_and_any_stride_counts_the_same():
    scores = torch.arange(24, dtype=torch.float32).reshape(4, 6).T
    labels = np.arange(24, dtype=np.uint8).reshape(4, 6).T % 2
    counter = TensorCounter(CPU)
    counter.add(scores, ClassPlaces.of(labels, CPU))
    once = to_bytes(counter.state())
    assert once == to_bytes(PixelState.count(scores.numpy(), labels))
    counter.add(scores, ClassPlaces.of(labels, CPU))
    assert counter.state().id_pixels == 24
    assert counter.state().low_key.size == 24


def test_what_is_no_image_is_refused():
    places = ClassPlaces.of(np.uint8([ID, OOD, VOID]), CPU)
    with pytest.raises(DataError, match="float64"):
        TensorCounter(CPU).add(torch.zeros(3, dtype=torch.float64), places)
    with pytest.raises(DataError, match=r"shape \(2,\)"):
        TensorCounter(CPU).add(torch.zeros(2), places)
    with pytest.raises(DataError, match="1 labels are neither"):
        ClassPlaces.of(np.uint8([7]), CPU)


def test_the_figures_alone_need_no_torch():
    modules = "abet.metrics.protocols, abet.metrics.curves, abet.metrics.components"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout == "False\n"
