"""Every metric against an independent implementation, on realistic logits, to 1e-6."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from qubastore.metrics.transforms import adaptive_calibration
from qubastore.statistics.bins import bin_rows
from qubastore.statistics.scores import round_significant
from tests.support.runs import add_run

N, C = 3000, 20


@pytest.fixture(scope="module")
def data():
    """Logits of a classifier that is right more often than not, over-confident, with classes of unlike size."""
    generator = np.random.default_rng(11)
    labels = generator.choice(C, N, p=np.arange(1, C + 1) / np.arange(1, C + 1).sum())
    logits = generator.normal(0, 2, (N, C))
    logits[np.arange(N), labels] += 4
    return logits.astype(np.float32), labels.astype(np.int32)


@pytest.fixture(scope="module")
def stored(data, tmp_path_factory):
    import qubastore

    with qubastore.init(tmp_path_factory.mktemp("metrics") / "store") as store:
        add_run(store, *data, shard_size=700)
        values = dict(store.rows("select metric, value from metric_values"))
    assert len(values) >= 15
    assert all(value is not None for value in values.values())
    return values


def softmax(logits):
    return torch.softmax(torch.from_numpy(logits).double(), dim=1).numpy()


def test_accuracy(data, stored):
    from torchmetrics.functional.classification import multiclass_accuracy

    logits, labels = map(torch.from_numpy, data)
    top1 = multiclass_accuracy(logits, labels.long(), C, average="micro")
    top5 = multiclass_accuracy(logits, labels.long(), C, average="micro", top_k=5)
    assert stored["accuracy"] == pytest.approx(float(top1), abs=1e-6)
    assert stored["top5_accuracy"] == pytest.approx(float(top5), abs=1e-6)
    assert 0.5 < stored["accuracy"] < stored["top5_accuracy"] < 1


def test_negative_log_likelihood(data, stored):
    logits, labels = map(torch.from_numpy, data)
    want = torch.nn.functional.cross_entropy(logits.double(), labels.long())
    assert stored["negative_log_likelihood"] == pytest.approx(float(want), abs=1e-9)


def test_brier_score(data, stored):
    from sklearn.metrics import brier_score_loss

    want = brier_score_loss(data[1], softmax(data[0]), scale_by_half=False, labels=list(range(C)))
    assert stored["brier_score"] == pytest.approx(want, abs=1e-9)


def plain_ece(confidence, correct, bins=15):
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = (confidence > low) & (confidence <= high)
        if i == 0:
            inside |= confidence == 0
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


def test_ece(data, stored):
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, labels = data
    probabilities = softmax(logits)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    assert stored["ece"] == pytest.approx(plain_ece(confidence, correct), abs=1e-9)
    # torchmetrics bins [lo, hi): the same where no confidence lies on an edge.
    assert not np.isin(confidence, np.linspace(0, 1, 16)).any()
    want = multiclass_calibration_error(torch.from_numpy(probabilities), torch.from_numpy(labels).long(), C, n_bins=15)
    assert stored["ece"] == pytest.approx(float(want), abs=1e-6)


def test_relatives_of_ece(data, stored):
    """MCE and RMS from torchmetrics' other norms; over- and underconfidence are the parts of ECE."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    probabilities, labels = torch.from_numpy(softmax(data[0])), torch.from_numpy(data[1]).long()
    largest, squared = (
        float(multiclass_calibration_error(probabilities, labels, C, n_bins=15, norm=norm)) for norm in ("max", "l2")
    )
    assert stored["mce"] == pytest.approx(largest, abs=1e-6)
    assert stored["rms_calibration_error"] == pytest.approx(squared, abs=1e-6)
    assert stored["overconfidence"] + stored["underconfidence"] == pytest.approx(stored["ece"], abs=1e-12)
    assert min(stored["overconfidence"], stored["underconfidence"]) >= 0


def test_confidences_on_an_edge_belong_to_the_lower_bin():
    edges = np.linspace(0, 1, 16)
    rows = bin_rows(edges, np.ones(16, bool))
    # 0 and 1/15 share the first bin; every other edge closes the bin below it.
    assert [(row[0], row[1]) for row in rows] == [(1, 2), *((i, 1) for i in range(2, 16))]


def plain_ace(probabilities, labels, bins=15):
    """The study's algorithm as a plain float64 loop: full sort, digitize, one class at a time."""
    errors = []
    for c in range(probabilities.shape[1]):
        p, hit = probabilities[:, c], labels == c
        p, hit = p[p > 0], hit[p > 0]
        if not len(p):
            errors.append(0.0)
            continue
        position = np.minimum(np.round(np.linspace(0, len(p), bins, endpoint=False)).astype(int), len(p) - 1)
        edges = np.sort(p)[position][1:]
        which = np.digitize(p, edges)
        error = 0.0
        for b in range(bins):
            if (which == b).any():
                error += (which == b).mean() * abs(hit[which == b].mean() - p[which == b].mean())
        errors.append(error)
    return float(np.mean(errors))


def test_ace(data, stored):
    assert stored["ace"] == pytest.approx(plain_ace(softmax(data[0]), data[1]), abs=1e-9)


def own_softmax(logits):
    """Equal logits give equal probabilities to the last bit here; in torch the place in memory can tell."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True).astype(np.float64))
    return shifted / shifted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("n", [1, 2, 14, 15, 16, 31, 100])
def test_ace_with_few_samples_ties_and_zeros(n):
    generator = np.random.default_rng(n)
    logits = generator.integers(-2, 3, (n, 6)).astype(np.float32)
    logits[:, 5] = -2000  # a probability of exactly zero
    labels = generator.integers(0, 6, n).astype(np.int32)
    assert adaptive_calibration.compute(logits, labels) == pytest.approx(
        plain_ace(own_softmax(logits), labels), abs=1e-12
    )


def test_ace_of_rounded_logits_is_near(data):
    logits, labels = data
    rounded = adaptive_calibration.compute(round_significant(logits, 16), labels)
    assert rounded == pytest.approx(adaptive_calibration.compute(logits, labels), abs=2e-6)


def test_ace_without_samples():
    assert np.isnan(adaptive_calibration.compute(np.empty((0, 3), np.float32), np.empty(0, np.int32)))


def test_true_class_probability(data, stored):
    logits, labels = data
    want = softmax(logits)[np.arange(N), labels].mean()
    assert stored["true_class_probability"] == pytest.approx(want, abs=1e-9)


def test_class_balance(data, stored):
    logits, labels = data
    probabilities = softmax(logits)
    correct = probabilities.argmax(axis=1) == labels
    accuracies = [correct[labels == c].mean() for c in range(C)]
    spreads = [probabilities[labels == c, c].std() for c in range(C)]
    accuracy_std, probability_std = np.std(accuracies, ddof=1), np.mean(spreads)
    assert stored["class_accuracy_std"] == pytest.approx(accuracy_std, abs=1e-9)
    assert stored["class_probability_std"] == pytest.approx(probability_std, abs=1e-9)
    want = np.sqrt((1 - accuracy_std) * (1 - probability_std))
    assert stored["class_balance"] == pytest.approx(want, abs=1e-9)


def test_calibration_error_is_the_geometric_mean(stored):
    assert stored["calibration_error"] == pytest.approx(np.sqrt(stored["ece"] * stored["ace"]), abs=1e-12)


def test_a_run_without_logits_has_no_ace(store):
    add_run(store, [[1.0, 0.0], [0.0, 1.0]], [0, 1], keep=("outputs",))
    values = dict(store.rows("select metric, value from run_metrics"))
    assert values["ace"] is None
    assert "ace" not in {row[0] for row in store.rows("select metric from metric_values")}
    assert values["calibration_error"] is None
    assert values["ece"] is not None


def test_a_metric_of_a_new_version_is_computed_anew(store, data, monkeypatch):
    import dataclasses

    from qubastore.metrics.catalogue import METRICS
    from qubastore.runs import metrics, publish

    add_run(store, *data)
    raised = tuple(dataclasses.replace(m, version=2) if m.name == "ece" else m for m in METRICS)
    monkeypatch.setattr(metrics, "METRICS", raised)
    store.write(lambda c: c.execute("update run_metrics set value = 99 where metric = 'ece'"))
    assert publish.publish_runs(store) == []
    assert store.rows("select metric_version, round(value) from run_metrics where metric = 'ece'") == [(2, 0.0)]
    assert store.rows("select count(*) from run_metrics") == [(sum(m.over == "run" for m in raised),)]
