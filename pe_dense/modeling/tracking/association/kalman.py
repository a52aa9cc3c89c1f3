"""Constant-velocity Kalman filters of many boxes at once."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

_POSITION, _VELOCITY = 1 / 20, 1 / 160  # standard deviations of DeepSORT, in box heights


class BoxFilter(ABC):
    """A Kalman filter whose state is four numbers of a box and their change per frame.

    All methods treat N tracks at once. A state is ``mean`` (N x 8: four numbers, four velocities) and ``covariance``
    (N x 8 x 8), float64; arrays given are not changed. Boxes are XYXY absolute pixels.
    """

    def initiate(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """State after the first observation, N x 4 boxes: at rest, and not sure of it."""
        measured = self.measure(boxes)
        mean = np.concatenate([measured, np.zeros_like(measured)], axis=1)
        return mean, self._initial_std(measured)[:, :, None] ** 2 * np.eye(8)

    def predict(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """State one frame later."""
        noise = self._process_std(mean) ** 2
        mean = mean.copy()
        mean[:, :4] += mean[:, 4:]
        # F P F' for F = [[1, 1], [0, 1]] of 4 x 4 blocks, without a product of matrices
        moved = covariance.copy()
        moved[:, :4] += covariance[:, 4:]
        moved[:, :, :4] += moved[:, :, 4:]
        diagonal = np.einsum("nii->ni", moved)
        diagonal += noise
        return mean, moved

    def update(self, mean: np.ndarray, covariance: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """State after an observation of each track, N x 4 boxes.

        The noise of the four measured numbers is independent, so that they may be used one after the other, each
        with a division instead of the inverse of a matrix; the result is the same.
        """
        measured = self.measure(boxes)
        noise = self._measurement_std(mean) ** 2
        mean, covariance = mean.copy(), covariance.copy()
        for i in range(4):
            gain = covariance[:, :, i] / (covariance[:, i, i] + noise[:, i])[:, None]
            mean += gain * (measured[:, i] - mean[:, i])[:, None]
            covariance -= gain[:, :, None] * covariance[:, None, i, :]
        return mean, covariance

    def distance(self, mean: np.ndarray, covariance: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance of M boxes from each predicted state, N x M (gate at 95 %: 9.4877)."""
        spread = covariance[:, :4, :4] + self._measurement_std(mean)[:, :, None] ** 2 * np.eye(4)
        away = self.measure(boxes)[None] - mean[:, None, :4]
        return np.einsum("nmi,nim->nm", away, np.linalg.solve(spread, away.transpose(0, 2, 1)))

    def warp(self, mean: np.ndarray, covariance: np.ndarray, warp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """State seen by a camera that has moved.

        Centres and their velocities take the whole 2 x 3 ``warp``. Sides only take its scale: a box has no direction
        that could turn. (The published BoT-SORT turns (width, height) like a point, which for a camera that rolls by
        2 degrees makes a standing person 7 % narrower.)
        """
        scale = warp_scale(warp)
        turn = np.zeros((4, 4))
        turn[:2, :2] = warp[:, :2]
        turn[2:, 2:] = np.diag(self._side_factors(scale))
        both = np.kron(np.eye(2), turn)
        mean = mean @ both.T
        mean[:, :2] += warp[:, 2]
        return mean, both @ covariance @ both.T

    @abstractmethod
    def measure(self, boxes: np.ndarray) -> np.ndarray:
        """The four numbers of N boxes: N x 4."""

    @abstractmethod
    def boxes(self, mean: np.ndarray) -> np.ndarray:
        """The boxes of states, N x 4; never of negative size."""

    @abstractmethod
    def hold_size(self, mean: np.ndarray) -> np.ndarray:
        """States whose size shall not change while they are not observed."""

    @abstractmethod
    def _initial_std(self, measured: np.ndarray) -> np.ndarray:
        """N x 8."""

    @abstractmethod
    def _process_std(self, mean: np.ndarray) -> np.ndarray:
        """N x 8."""

    @abstractmethod
    def _measurement_std(self, mean: np.ndarray) -> np.ndarray:
        """N x 4."""

    @abstractmethod
    def _side_factors(self, scale: float) -> tuple[float, float]:
        """What the third and fourth number are multiplied with when the image is scaled."""


class AspectFilter(BoxFilter):
    """(centre x, centre y, aspect = width / height, height): DeepSORT (arXiv 1703.07402, section 2.1), ByteTrack."""

    def measure(self, boxes: np.ndarray) -> np.ndarray:
        """See :class:`BoxFilter`."""
        measured = _centred(boxes)
        measured[:, 2] /= np.maximum(measured[:, 3], 1e-9)
        return measured

    def boxes(self, mean: np.ndarray) -> np.ndarray:
        """See :class:`BoxFilter`."""
        height = np.maximum(mean[:, 3], 0)
        return _corners(mean[:, :2], np.stack([np.maximum(mean[:, 2], 0) * height, height], axis=1))

    def hold_size(self, mean: np.ndarray) -> np.ndarray:
        """The height does not change."""
        mean = mean.copy()
        mean[:, 7] = 0
        return mean

    def _initial_std(self, measured: np.ndarray) -> np.ndarray:
        return self._by_height(measured, 2 * _POSITION, 1e-2, 10 * _VELOCITY, 1e-5)

    def _process_std(self, mean: np.ndarray) -> np.ndarray:
        return self._by_height(mean, _POSITION, 1e-2, _VELOCITY, 1e-5)

    def _measurement_std(self, mean: np.ndarray) -> np.ndarray:
        return self._by_height(mean, _POSITION, 1e-1, 0.0, 0.0)[:, :4]

    @staticmethod
    def _by_height(state: np.ndarray, place: float, aspect: float, speed: float, aspect_speed: float) -> np.ndarray:
        factors = np.array([place, place, 0, place, speed, speed, 0, speed])
        fixed = np.array([0, 0, aspect, 0, 0, 0, aspect_speed, 0])
        return np.maximum(state[:, 3:4], 1e-9) * factors + fixed

    def _side_factors(self, scale: float) -> tuple[float, float]:
        return 1.0, scale


class SizeFilter(BoxFilter):
    """(centre x, centre y, width, height): BoT-SORT (arXiv 2206.14651, section 3.1)."""

    def measure(self, boxes: np.ndarray) -> np.ndarray:
        """See :class:`BoxFilter`."""
        return _centred(boxes)

    def boxes(self, mean: np.ndarray) -> np.ndarray:
        """See :class:`BoxFilter`."""
        return _corners(mean[:, :2], np.maximum(mean[:, 2:4], 0))

    def hold_size(self, mean: np.ndarray) -> np.ndarray:
        """Width and height do not change."""
        mean = mean.copy()
        mean[:, 6:] = 0
        return mean

    def _initial_std(self, measured: np.ndarray) -> np.ndarray:
        return self._by_sides(measured, 2 * _POSITION, 10 * _VELOCITY)

    def _process_std(self, mean: np.ndarray) -> np.ndarray:
        return self._by_sides(mean, _POSITION, _VELOCITY)

    def _measurement_std(self, mean: np.ndarray) -> np.ndarray:
        return self._by_sides(mean, _POSITION, 0.0)[:, :4]

    @staticmethod
    def _by_sides(state: np.ndarray, place: float, speed: float) -> np.ndarray:
        sides = np.maximum(state[:, [2, 3, 2, 3]], 1e-9)
        return np.concatenate([sides * place, sides * speed], axis=1)

    def _side_factors(self, scale: float) -> tuple[float, float]:
        return scale, scale


class AreaFilter(BoxFilter):
    """(centre x, centre y, area, ratio = width / height), the ratio constant: SORT (arXiv 1602.00763), OC-SORT."""

    _INITIAL = np.sqrt([10, 10, 10, 10, 1e4, 1e4, 1e4, 0])
    _PROCESS = np.sqrt([1, 1, 1, 1, 1e-2, 1e-2, 1e-4, 0])
    _MEASUREMENT = np.sqrt([1, 1, 10, 10])

    def predict(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`BoxFilter`; an area that would become negative stays instead."""
        shrinking = mean[:, 2] + mean[:, 6] <= 0
        if shrinking.any():
            mean = mean.copy()
            mean[shrinking, 6] = 0
        return super().predict(mean, covariance)

    def measure(self, boxes: np.ndarray) -> np.ndarray:
        """See :class:`BoxFilter`."""
        measured = _centred(boxes)
        width, height = measured[:, 2].copy(), np.maximum(measured[:, 3], 1e-9)
        measured[:, 2], measured[:, 3] = width * height, width / height
        return measured

    def boxes(self, mean: np.ndarray) -> np.ndarray:
        """See :class:`BoxFilter`."""
        area, ratio = np.maximum(mean[:, 2], 0), np.maximum(mean[:, 3], 1e-9)
        width = np.sqrt(area * ratio)
        return _corners(mean[:, :2], np.stack([width, width / ratio], axis=1))

    def hold_size(self, mean: np.ndarray) -> np.ndarray:
        """Nothing is held: the area goes on changing, see :meth:`predict`."""
        return mean

    def _initial_std(self, measured: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self._INITIAL, (len(measured), 8))

    def _process_std(self, mean: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self._PROCESS, (len(mean), 8))

    def _measurement_std(self, mean: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self._MEASUREMENT, (len(mean), 4))

    def _side_factors(self, scale: float) -> tuple[float, float]:
        return scale**2, 1.0


def warp_scale(warp: np.ndarray) -> float:
    """By how much a 2 x 3 warp enlarges lengths, in the mean over directions."""
    return float(np.sqrt(abs(np.linalg.det(warp[:, :2]))))


def warp_boxes(boxes: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """XYXY boxes (... x 4) seen by a camera that has moved: the centre takes the 2 x 3 warp, the sides its scale."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 @ warp[:, :2].T + warp[:, 2]
    half = (boxes[..., 2:] - boxes[..., :2]) / 2 * warp_scale(warp)
    return np.concatenate([centre - half, centre + half], axis=-1)


def _centred(boxes: np.ndarray) -> np.ndarray:
    """N x 4 (centre x, centre y, width, height)."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def _corners(centre: np.ndarray, sides: np.ndarray) -> np.ndarray:
    return np.concatenate([centre - sides / 2, centre + sides / 2], axis=1)
