"""Which images of several data sets are the same scan, whatever was done to their files.

A volume is known by the neighbourhoods of its voxels. Around each local maximum the differences to the two next voxels
on either side along the three axes are taken, without regard to direction or order of the axes, and hashed; the 512
smallest hashes are kept (the bottom-k sketch of Broder and of Bar-Yossef et al.). So a fingerprint does not change with

- flips, exchanged axes, a lost or changed header: no affine is read;
- an offset, a slope, another type of numbers: only differences count, in units of the step between grey values;
- crops along any axis, and values clipped on either side: what is left has the hashes it had.

Two copies share nearly all of their smallest hashes, or as many as the smaller holds. Different scans share next to
none: noise alone gives twelve differences of several bits each. Noise below about 2 HU leaves fewer, and then different
scans might be joined: which costs nothing but a patient on another side. What was resampled, smoothed, compressed with
loss or windowed to 8 bits is another image, and so is another scan of the same patient: patients that a data set names
are joined by their names (`splits`). `benchmarks/fingerprints.py` measures both errors on a folder of volumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy import sparse

Fingerprint = list[int]
"""Sorted hashes of 53 bits, so that JSON holds them exactly; empty where there is nothing to tell an image by."""

_KEPT = 512
_LARGEST = 2**53 - 1
# Copies share nearly all; a fifth leaves room for values clipped to a narrow window.
_LEAST_SHARE = 0.2
_LEAST_SHARED = 8
_REACH = 2
_SLICES_AT_A_TIME = 16
_PEAKS_AT_A_TIME = 2**14
_SAMPLE = 2**20
# A CT has a few thousand grey values. More are those of interpolated voxels, which copies round to whole HU.
_MOST_GREY_VALUES = 2**16


def fingerprint(image: np.ndarray) -> Fingerprint:
    """The fingerprint of a volume.

    Args:
        image: [X, Y, Z], any axes and grey values. It is read in slabs; nothing of its size is made.

    Returns:
        At most 512 hashes, ascending. Empty for an image without noise or with a side below 5 voxels.
    """
    # Axes do not count, so they are taken as they lie in memory.
    image = image.transpose(np.argsort(image.strides)[::-1])
    step = _grey_step(image)
    least = np.empty(0, np.uint64)
    for start in range(0, len(image) - 2 * _REACH, _SLICES_AT_A_TIME):
        slab = image[start : start + _SLICES_AT_A_TIME + 2 * _REACH].astype(np.float32)
        for hashes in _hashes(np.rint(slab), 1.0) if step is None else _hashes(slab, step):
            if len(least) == _KEPT:
                hashes = hashes[hashes < least[-1]]
            least = np.unique(np.concatenate([least, hashes]))[:_KEPT]
    return least.tolist()


def same_patient(first: Fingerprint, second: Fingerprint) -> bool:
    """Whether two fingerprints are of one scan: at least 8 hashes, and a fifth of those that can be, are shared."""
    shared, known = _shared(first, second)
    return shared >= max(_LEAST_SHARED, _LEAST_SHARE * known)


def shared_part(first: Fingerprint, second: Fingerprint) -> float:
    """Which part, 0..1, two fingerprints share of the hashes that they can: 1 for a crop and its whole."""
    shared, known = _shared(first, second)
    return shared / known if known else 0.0


def _shared(first: Fingerprint, second: Fingerprint) -> tuple[int, int]:
    """How many hashes are shared, and how many can be: those of the smaller one that the other might hold."""
    first, second = (np.asarray(hashes, np.uint64) for hashes in (first, second))
    # A full sketch tells of the hashes up to its largest one only.
    limit = min((hashes[-1] for hashes in (first, second) if len(hashes) == _KEPT), default=_LARGEST)
    first, second = first[first <= limit], second[second <= limit]
    return np.intersect1d(first, second, assume_unique=True).size, min(len(first), len(second))


def same_patients(fingerprints: Mapping[str, Fingerprint]) -> list[tuple[str, str]]:
    """The pairs of cases that are of one scan, each pair and all pairs in the order of the mapping.

    Only cases that share a few hashes are compared, so thousands take seconds.
    """
    names = list(fingerprints)
    owners = np.repeat(np.arange(len(names)), [len(fingerprints[name]) for name in names])
    hashes = np.concatenate([np.asarray(fingerprints[name], np.uint64) for name in names] or [[]])
    _, columns = np.unique(hashes, return_inverse=True)
    shape = len(names), len(hashes)
    holds = sparse.csr_matrix((np.ones(len(owners), np.int32), (owners, columns)), shape)
    shared = sparse.triu(holds @ holds.T, k=1).tocsr()
    shared.sort_indices()
    pairs = zip(*(shared >= _LEAST_SHARED).nonzero(), strict=True)
    return [(names[a], names[b]) for a, b in pairs if same_patient(fingerprints[names[a]], fingerprints[names[b]])]


def _grey_step(image: np.ndarray) -> float | None:
    """The distance between neighbouring grey values, 1 for whole HU; None where grey values are continuous."""
    sample = image.flat[:: max(1, image.size // _SAMPLE)]
    values = np.unique(sample).astype(np.float64)
    if len(values) > min(_MOST_GREY_VALUES, len(sample) // 2):
        return None
    gaps = np.diff(values)
    # Rare values leave wider gaps, and the limits of clipped values narrower ones.
    usual = gaps[gaps < 1.5 * np.quantile(gaps, 0.1)] if len(gaps) else gaps
    return float(usual.mean()) if len(usual) else 1.0


def _hashes(slab: np.ndarray, step: float) -> Iterator[np.ndarray]:
    """The hashes of all local maxima of float [X, Y, Z], C-contiguous, at least two voxels from its sides.

    They come few at a time, so that what is made of them stays in the cache of the processor.
    """
    at = np.flatnonzero(_peaks(slab))
    voxels, strides = slab.reshape(-1), (slab.shape[1] * slab.shape[2], slab.shape[2], 1)
    for start in range(0, len(at), _PEAKS_AT_A_TIME):
        yield _hashes_at(voxels, at[start : start + _PEAKS_AT_A_TIME], strides, step)


def _peaks(slab: np.ndarray) -> np.ndarray:
    """Where a voxel is above its six neighbours and at least two voxels from the sides, bool of the slab's shape."""
    peaks = np.zeros(slab.shape, bool)
    inner = tuple(slice(_REACH, length - _REACH) for length in slab.shape)
    center, found = slab[inner], peaks[inner]
    found[...] = True
    for axis in range(3):
        for offset in (-1, 1):
            found &= center > slab[_moved(inner, axis, offset)]
    return peaks


def _moved(window: tuple[slice, ...], along: int, offset: int) -> tuple[slice, ...]:
    edge = window[along]
    return (*window[:along], slice(edge.start + offset, edge.stop + offset), *window[along + 1 :])


def _hashes_at(voxels: np.ndarray, at: np.ndarray, strides: Sequence[int], step: float) -> np.ndarray:
    """The hashes of the voxels at these places of a flat slab."""
    peaks = voxels[at]
    total = np.zeros(len(at), np.uint64)
    for stride in strides:
        drops = [
            np.rint((peaks - voxels[at + offset * stride]) / step).astype(np.int64).view(np.uint64)
            for offset in (-2, -1, 1, 2)
        ]
        total += _mixed(np.minimum(_joined(drops), _joined(drops[::-1])))
    return _mixed(total) >> np.uint64(11)


def _joined(numbers: list[np.ndarray]) -> np.ndarray:
    """One number of several, by their order; overflow is meant."""
    joined = numbers[0]
    for number in numbers[1:]:
        joined = joined * np.uint64(0x9E3779B97F4A7C15) + number
    return joined


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Each number with its bits spread evenly: the last step of the generator SplitMix64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
