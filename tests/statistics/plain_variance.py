"""The multiway variance in plain loops, to compare with."""

from __future__ import annotations

import math


def plain_variance(contributions, first, second):
    """The multiway variance, pair of images by pair of images."""
    total = {}
    for kind, same in (
        ("first", lambda i, j: first[i] == first[j]),
        ("second", lambda i, j: second[i] == second[j]),
        ("both", lambda i, j: first[i] == first[j] and second[i] == second[j]),
    ):
        n = {"first": len(set(first)), "second": len(set(second)), "both": len(set(zip(first, second, strict=True)))}
        summed = 0.0
        for i in range(len(contributions)):
            for j in range(len(contributions)):
                summed += contributions[i] * contributions[j] if same(i, j) else 0
        total[kind] = summed * n[kind] / (n[kind] - 1)
    return max(total["first"] + total["second"] - total["both"], total["both"])


def plain_variance_of(person, first, second):
    """As `plain_variance`, part by part: a million pairs of images are too many."""
    total = []
    for names in (first, second, list(zip(first, second, strict=True))):
        sums: dict[object, float] = {}
        for name, value in zip(names, person.crossed.contributions.tolist(), strict=True):
            sums[name] = sums.get(name, 0.0) + value
        total.append(math.fsum(value**2 for value in sums.values()) * len(sums) / (len(sums) - 1))
    return max(total[0] + total[1] - total[2], total[2])
