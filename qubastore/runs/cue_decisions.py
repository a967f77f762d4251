"""Which images of a run were decided by shape, and which by texture: the one rule, for sums and for resamples."""

from __future__ import annotations


def cue_decisions(outputs: str = "outputs") -> str:
    """A query for the images of runs whose shape and texture are of different classes.

    Its columns: `run_id`; `sample_id`; `category`, the class of the shape; `shape` and `texture`, which say whether the
    prediction is that of the shape or of the texture: never both, and neither where another class or nothing is
    predicted (Geirhos et al., arXiv 1811.12231).

    Args:
        outputs: The table of the outputs, with at least run_id, sample_id, label and prediction.
    """
    return f"""
        select
            outputs.run_id,
            outputs.sample_id,
            outputs.label as category,
            coalesce(datasets.classes[outputs.prediction + 1] = samples.factors['shape'], false) as shape,
            coalesce(datasets.classes[outputs.prediction + 1] = samples.factors['texture'], false) as texture
        from {outputs} as outputs
        join runs using (run_id)
        join datasets using (dataset_id)
        join samples on samples.dataset_id = runs.dataset_id and samples.sample_id = outputs.sample_id
        where samples.factors['shape'] <> samples.factors['texture']
    """
