"""Generated series for the starter that forecasts what it never saw.

Each is drawn by itself: up to two seasons of common lengths with harmonics, a trend that may turn,
an autoregressive remainder, sometimes jumps, spikes, counts or gaps, added or multiplied, at any
level and scale. Nothing in it comes from a data set.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SEASONS = (4, 5, 6, 7, 8, 10, 12, 24, 24, 24, 30, 48, 52, 60, 96, 144, 168)
SHORTEST, LONGEST = 240, 720


def generate(count: int, seed: int) -> list[FloatArray]:
    """`count` series of 240 to 720 timesteps; NaN where a value is missing."""
    random = np.random.default_rng(seed)
    return [_series(random) for _ in range(count)]


def _series(random: np.random.Generator) -> FloatArray:
    time_t = np.arange(random.integers(SHORTEST, LONGEST + 1))
    season_t = _seasons(random, time_t)
    rest_t = _autoregression(random, len(time_t)) * random.choice([0.02, 0.1, 0.3, 0.6])
    trend_t = _trend(random, time_t) * random.choice([0.0, 0.3, 1.0, 3.0])
    if random.random() < 0.3:  # the season grows with the level
        values_t = np.exp(0.4 * np.clip(season_t + trend_t + rest_t, -12, 12))
    else:
        values_t = season_t + trend_t + rest_t
    if random.random() < 0.1:
        values_t[random.integers(len(time_t)) :] += random.normal(0, 2)
    if random.random() < 0.1:
        spikes = random.random(len(time_t)) < 0.01
        values_t[spikes] += random.normal(0, 3, spikes.sum())
    if random.random() < 0.15:
        rate_t = np.exp(np.clip(values_t - values_t.mean(), -3, 3)) * random.choice([0.5, 3, 30])
        return _with_gaps(random, random.poisson(rate_t).astype(np.float64))
    level = random.choice([0.0, 1.0, 5.0, 30.0]) * random.normal()
    return _with_gaps(random, (values_t + level) * 10 ** random.uniform(-2, 4))


def _seasons(random: np.random.Generator, time_t: NDArray[np.int64]) -> FloatArray:
    total_t = np.zeros(len(time_t))
    for _ in range(random.choice([0, 0, 1, 1, 1, 2])):
        length = random.choice(SEASONS)
        if random.random() < 0.3:  # a profile of its own for each place in the season
            profile = np.convolve(random.normal(size=length), [0.25, 0.5, 0.25], mode="same")
            total_t += profile[time_t % length] / max(profile.std(), 1e-3)
            continue
        for harmonic in range(1, random.integers(2, 6)):
            angle_t = 2 * np.pi * harmonic * time_t / length + random.uniform(0, 2 * np.pi)
            total_t += random.normal() / harmonic * np.sin(angle_t)
    return total_t


def _trend(random: np.random.Generator, time_t: NDArray[np.int64]) -> FloatArray:
    """Straight, turning once or twice, or a random walk; about one unit over the series."""
    if random.random() < 0.3:
        return np.cumsum(random.normal(size=len(time_t))) / np.sqrt(len(time_t))
    turns = np.sort(random.choice(len(time_t), size=random.integers(0, 3), replace=False))
    slope_t = np.full(len(time_t), random.normal())
    for turn in turns:
        slope_t[turn:] = random.normal()
    return np.cumsum(slope_t) / len(time_t)


def _autoregression(random: np.random.Generator, length: int) -> FloatArray:
    """Of order one, with unit variance."""
    memory = random.choice([0.0, 0.5, 0.8, 0.95])
    heavy = random.random() < 0.3
    noise_t = random.standard_t(5, size=length) if heavy else random.normal(size=length)
    values_t = np.empty(length)
    value = 0.0
    for index, noise in enumerate(noise_t):
        value = memory * value + noise
        values_t[index] = value
    return values_t * np.sqrt(1 - memory**2)


def _with_gaps(random: np.random.Generator, values_t: FloatArray) -> FloatArray:
    if random.random() < 0.1:
        values_t[random.random(len(values_t)) < random.choice([0.02, 0.1, 0.3])] = np.nan
    return values_t
