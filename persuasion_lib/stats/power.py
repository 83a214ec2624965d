"""What a design of this size could have seen."""

import math

from scipy.stats import norm, t


def power(
    n: int, sd: float, *, alpha: float = 0.05, power: float = 0.8, m: int = 1
) -> float:
    """Smallest mean difference that n prompts detect with probability `power`.

    (z(1 - alpha/2m) + z(power)) * sd / sqrt(n): Miller 2024, arXiv 2411.00640.

    Args:
        sd: standard deviation of the difference within a prompt, in score units.
        m: number of comparisons; the strictest step of Holm divides alpha by it.

    Returns:
        The detectable difference in the units of `sd`; NaN for n < 2 or an undefined sd.
    """
    if n < 2 or not math.isfinite(sd):
        return math.nan
    return float(_z(alpha, power, m) * sd / math.sqrt(n))


def n_for(
    delta: float, sd: float, *, alpha: float = 0.05, power: float = 0.8, m: int = 1
) -> float:
    """Prompts needed to detect a mean difference `delta`, rounded up; NaN for delta = 0."""
    if delta == 0 or not (math.isfinite(delta) and math.isfinite(sd)):
        return math.nan
    return max(2, math.ceil((_z(alpha, power, m) * sd / delta) ** 2))


def crossed_power(seeds: int, prompts: int, *, sd_seed: float, sd_prompt: float, sd_rest: float,
                  alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest mean difference that `stats.crossed.crossed_mean` detects with probability `power`.

    Args:
        sd_seed, sd_prompt, sd_rest: standard deviations of the difference between seeds, between
            prompts, and of one reply beyond both, in score units.

    Returns:
        The difference in the same units; NaN for fewer than two seeds or prompts.
    """
    if seeds < 2 or prompts < 2:
        return math.nan
    rest = sd_rest**2
    squares = (prompts * sd_seed**2 + rest, seeds * sd_prompt**2 + rest, -rest)
    freedoms = (seeds - 1, prompts - 1, (seeds - 1) * (prompts - 1))
    whole = sum(squares)
    df = whole**2 / sum(part**2 / free for part, free in zip(squares, freedoms, strict=True))
    reach = t.ppf(1 - alpha / 2, df) + t.ppf(power, df)
    return float(reach * math.sqrt(whole / (seeds * prompts)))


def _z(alpha: float, power: float, m: int) -> float:
    return float(norm.ppf(1 - alpha / (2 * m)) + norm.ppf(power))
