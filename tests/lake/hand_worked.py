"""Four samples of two classes, and their figures by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from qubastore.runs.device_benchmarks import DeviceBenchmark, replace_benchmark
from tests.support.runs import add_run

# Four samples, two classes. ln 3 makes probabilities of 3/4 and 1/4, ln 9 of 9/10 and 1/10.
#   sample  logits       label  prediction  confidence  p(label)
#   0       (ln 9, 0)    0      0 right     0.9         0.9
#   1       (ln 3, 0)    0      0 right     0.75        0.75
#   2       (0, ln 3)    0      1 wrong     0.75        0.25
#   3       (0, ln 9)    1      1 right     0.9         0.9
LN3, LN9 = math.log(3), math.log(9)
LOGITS = [[LN9, 0], [LN3, 0], [0, LN3], [0, LN9]]
LABELS = [0, 0, 0, 1]
PETS = ["cat", "dog"]
RUN = ("net", "pets", "clean", "model", "fp32")


def add_four_samples(store):
    """The run over them, in a suite that it fills."""
    run_id = add_run(store, LOGITS, LABELS, classes=PETS)
    store.write(
        lambda c: c.execute(
            "insert into own_suites values ('tiny', 'clean', 'pets', 'clean', 'model', 4, '', 'pillow')"
        )
    )
    (model,) = store.rows("select model_id from models")
    measured = datetime(2026, 1, 1, tzinfo=UTC)
    found = DeviceBenchmark(*(model[0], "GPU", "torch 2", "bf16", 8, 8, 1.5, 2.5, 100, 32, 250.0, 64.0, 0.5, measured))
    store.write(lambda c: replace_benchmark(c, found))
    return run_id


def ask(store, run_id, query):
    """The rows of an answer, with RUN for the run's id."""
    return [tuple("RUN" if value == run_id else value for value in row) for row in store.rows(query)]


def near(*values):
    """Floats within 1e-7: the logits are float32."""
    return tuple(pytest.approx(v, abs=1e-7) if isinstance(v, float) else v for v in values)


SPREAD = math.sqrt(((0.9 - 1.9 / 3) ** 2 + (0.75 - 1.9 / 3) ** 2 + (0.25 - 1.9 / 3) ** 2) / 3)


# 15 bins: 0.75 lies in (11/15, 12/15], 0.9 in (13/15, 14/15].
# ECE = 2/4 * |1/2 - 0.75| + 2/4 * |1 - 0.9| = 0.125 + 0.05
ECE = 0.175


# ACE with n = 4: edges at round(i * 4/15), i = 1..14: 0 0 1 1 1 2 2 2 2 3 3 3 3 4->3; distinct lower edges: every
# value above the smallest, so each distinct probability is a bin of its own; ties share the upper one.
# class 0: p = 0.1 (miss), 0.25 (hit), 0.75 (hit), 0.9 (hit): (0.1 + 0.75 + 0.25 + 0.1) / 4 = 0.3
# class 1: p = 0.1 (miss), 0.25 (miss), 0.75 (miss), 0.9 (hit): (0.1 + 0.25 + 0.75 + 0.1) / 4 = 0.3
ACE = 0.3


# class accuracies 2/3 and 1: sample std = |1 - 2/3| / sqrt(2)
ACCURACY_STD = (1 / 3) / math.sqrt(2)


# p(label) of class 0: 0.9, 0.75, 0.25 -> population std SPREAD; of class 1: 0.9 -> 0
PROBABILITY_STD = SPREAD / 2


BALANCE = math.sqrt((1 - ACCURACY_STD) * (1 - PROBABILITY_STD))


# -(2 ln 0.9 + ln 0.75 + ln 0.25) / 4
NLL = -(2 * math.log(0.9) + math.log(0.75) + math.log(0.25)) / 4


# per sample (1 - p)^2 + p_other^2 = 2 (1 - p)^2: 2 * (0.01 + 0.0625 + 0.5625 + 0.01) / 4
BRIER = 2 * (0.01 + 0.0625 + 0.5625 + 0.01) / 4


def right(n):
    """Logits of which the first n of four are right."""
    return [[LN3, 0] if (label == 0) == (i < n) else [0, LN3] for i, label in enumerate(LABELS)]


# A whole suite. Clean accuracy is 3/4, and with n right of 4 a run's accuracy relative to it is n/3:
#   fgsm 2 right, pgd 1 right       adversarial: sqrt(2/3 * 1/3)
#   fog/1 2 right, fog/2 none       corruption: (2/3 + 0) / 2
#   art 1 right, toys 4 right       shifted: sqrt(1/3 * 4/3), of one label space, so matched is the same
#   same 3 right, random 2 right    object focus: 1 - (3/4 - 2/4) / (3/4)
#   cue-conflict, classes shape/texture: cat/dog says cat, cat/dog says dog, dog/cat says cat, dog/dog is left out
#                                   shape bias: 1 / (1 + 2)
SUITE = [
    ("adversarial", "pets", "fgsm(eps=8/255)", 2),
    ("adversarial", "pets", "pgd(eps=8/255,alpha=2/255,steps=10,start=random)", 1),
    ("corrupted", "pets-c/fog/1", "clean", 2),
    ("corrupted", "pets-c/fog/2", "clean", 0),
    ("shifted", "art", "clean", 1),
    ("shifted", "toys", "clean", 4),
    ("same_background", "same", "clean", 3),
    ("random_background", "random", "clean", 2),
]
