"""Two models image by image, from kept outputs: agreement, McNemar's test, flips, classes, factors."""

from __future__ import annotations

from collections.abc import Sequence

from qubastore.analysis.pairs import Pair
from qubastore.analysis.table import Table
from qubastore.lake.database import Database
from qubastore.lake.views import all_views
from qubastore.statistics.tests import holm

_AGREEMENT = """
    select
        ? as dataset, ? as condition, ? as framing, ? as precision, ? as decoder, null as level,
        ? as model_a, 'model' as observer_a, ? as model_b, 'model' as observer_b,
        count(*) as n,
        sum((a.prediction = a.label and b.prediction = b.label)::bigint)::bigint as both_right,
        sum((a.prediction = a.label and b.prediction <> b.label)::bigint)::bigint as only_a,
        sum((a.prediction <> a.label and b.prediction = b.label)::bigint)::bigint as only_b,
        sum((a.prediction <> a.label and b.prediction <> b.label)::bigint)::bigint as both_wrong,
        count(*) filter (where a.prediction = b.prediction) as same_answer
    from outputs as a
    join outputs as b using (sample_id)
    where a.run_id = ? and b.run_id = ? and a.prediction is not null and b.prediction is not null
"""
"""The row of the view `agreement` for two runs, without comparing all the others."""


def agreement(store: Database, pairs: Sequence[Pair]) -> Table:
    """How often two models agree, which is right where only one is, and whether the difference is significant.

    McNemar's exact test, two-sided: under equal error rates the images that one model alone gets right are split evenly
    between the two (McNemar, Psychometrika 12, 1947). Holm-corrected over all rows. Only images that both models have.

    Returns:
        Per pair, dataset, framing, condition, precision and decoder: n, accuracy_a, accuracy_b, same_answer (share),
        only_a and only_b (images that one alone gets right), error_consistency (as the view of that name), p_value,
        p_holm. Without labels, n and same_answer alone.
    """
    from scipy.stats import binomtest

    # What follows from the counts is the view's own formula: in its SQL, `agreement` is then this one pair.
    query = f"""
        with agreement as materialized ({_AGREEMENT})
        select agreement.n, accuracy_a, accuracy_b, same_answer / agreement.n, only_a, only_b, error_consistency
        from agreement, ({all_views()["error_consistency"].select}) as consistency
    """
    rows = []
    for models in pairs:
        for one, other in models.runs:
            place = (models.a, models.b, one.dataset, one.condition, one.framing, one.precision, one.decoder)
            figures = store.rows(query, [*place[2:], *place[:2], one.run_id, other.run_id])[0]
            if not figures[0]:
                continue
            only_a, only_b = figures[4:6]
            if only_a is None:
                rows.append((*place, *figures, None))
                continue
            p = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
            rows.append((*place, *figures, float(p)))
    columns = (
        *("model_a", "model_b", "dataset", "condition", "framing", "precision", "decoder", "n"),
        *("accuracy_a", "accuracy_b", "same_answer", "only_a", "only_b", "error_consistency", "p_value", "p_holm"),
    )
    corrected = iter(holm([row[-1] for row in rows if row[-1] is not None]))
    note = "McNemar's exact test on images that one model alone gets right, two-sided, Holm-corrected over the rows"
    return Table(columns, [(*row, None if row[-1] is None else next(corrected)) for row in rows], [note])


_BOTH = """
    from outputs as a
    join outputs as b using (sample_id)
    join runs on runs.run_id = a.run_id
    join datasets using (dataset_id)
    join samples on samples.dataset_id = runs.dataset_id and samples.sample_id = a.sample_id
    join label_sets
        on label_sets.dataset_id = runs.dataset_id
        and label_sets.sample_id = a.sample_id
        and label_sets.label_set = 'dataset'
    where a.run_id = ? and b.run_id = ? and a.prediction is not null and b.prediction is not null
        and a.label is not null
"""
"""Labelled images that both have; if several classes are right, each run's label is the right class that it scored
highest."""


def classes(store: Database, pairs: Sequence[Pair]) -> Table:
    """Accuracy by class (the first one, if several are right), over images that both models have, largest difference
    first.
    """
    query = f"""
        select
            datasets.classes[label_sets.labels[1] + 1], count(*),
            avg((a.prediction = a.label)::int) as share_a, avg((b.prediction = b.label)::int) as share_b
        {_BOTH}
        group by 1
        order by abs(share_a - share_b) desc, 1
    """
    rows = [
        (models.a, models.b, one.dataset, one.condition, name, n, share_a, share_b, share_a - share_b)
        for models in pairs
        for one, other in models.runs
        for name, n, share_a, share_b in store.rows(query, [one.run_id, other.run_id])
    ]
    columns = ("model_a", "model_b", "dataset", "condition", "class", "n", "accuracy_a", "accuracy_b", "difference")
    return Table(columns, rows, [])


def factors(store: Database, pairs: Sequence[Pair]) -> Table:
    """Accuracy by the factors of the images (as in `factor_accuracy`) and ImageNet-X's top factors, over images that
    both models have, largest difference first.
    """
    query = f"""
        with both_have as (
            select
                samples.factors,
                if(datasets.label_space = 'imagenet-1k', regexp_extract(samples.key, '[^/]+$'), null) as file_name,
                a.prediction = a.label as right_a,
                b.prediction = b.label as right_b
            {_BOTH}
        ),
        known as (
            select unnest(map_entries(factors)) as entry, right_a, right_b from both_have
        ),
        annotated as (
            select unnest(annotations.factors) as value, right_a, right_b
            from both_have join annotations using (file_name)
            where annotations.scheme = 'imagenet-x/top' and not annotations.is_prototype
        ),
        listed as (
            select entry.key as factor, entry.value as value, right_a, right_b from known
            union all
            select 'imagenet-x', value, right_a, right_b from annotated
        )
        select factor, value, count(*), avg(right_a::int) as share_a, avg(right_b::int) as share_b
        from listed
        group by factor, value
        order by abs(share_a - share_b) desc, factor, value
    """
    rows = [
        (models.a, models.b, one.dataset, one.condition, factor, value, n, share_a, share_b, share_a - share_b)
        for models in pairs
        for one, other in models.runs
        for factor, value, n, share_a, share_b in store.rows(query, [one.run_id, other.run_id])
    ]
    columns = ("model_a", "model_b", "dataset", "condition", "factor", "value", "n", "accuracy_a", "accuracy_b")
    return Table((*columns, "difference"), rows, [])


def flips(store: Database, pairs: Sequence[Pair]) -> Table:
    """Every image that only one of two models gets right, most confident mistakes first."""
    query = f"""
        select
            samples.key,
            array_to_string(list_transform(label_sets.labels, lambda label: datasets.classes[label + 1]), ', '),
            datasets.classes[a.prediction + 1], a.confidence, datasets.classes[b.prediction + 1], b.confidence,
            if(a.prediction = a.label, 'a', 'b')
        {_BOTH} and (a.prediction = a.label) <> (b.prediction = b.label)
        order by if(a.prediction = a.label, b.confidence, a.confidence) desc, samples.key
    """
    rows = [
        (models.a, models.b, one.dataset, one.condition, *row)
        for models in pairs
        for one, other in models.runs
        for row in store.rows(query, [one.run_id, other.run_id])
    ]
    columns = ("model_a", "model_b", "dataset", "condition", "key", "label")
    return Table((*columns, "answer_a", "confidence_a", "answer_b", "confidence_b", "right"), rows, [])


def paths(store: Database, pairs: Sequence[Pair]) -> Table:
    """The files of the images that only one model gets right, each once, most confident mistakes first."""
    query = f"""
        select rtrim(datasets.root, '/') || '/' || samples.key
        {_BOTH} and (a.prediction = a.label) <> (b.prediction = b.label)
        order by if(a.prediction = a.label, b.confidence, a.confidence) desc, samples.key
    """
    found = [
        row[0]
        for models in pairs
        for one, other in models.runs
        for row in store.rows(query, [one.run_id, other.run_id])
    ]
    return Table(("path",), [(path,) for path in dict.fromkeys(found)], [])


TABLES = {"agreement": agreement, "classes": classes, "factors": factors, "flips": flips, "paths": paths}
"""The tables available for pairs of models."""
