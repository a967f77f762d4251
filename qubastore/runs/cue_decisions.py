"""Which images of a run were decided by shape, and which by texture: the one rule, for sums and for resamples."""

CUE_DECISIONS = """
    select
        outputs.sample_id,
        outputs.label as category,
        coalesce(datasets.classes[outputs.prediction + 1] = samples.factors['shape'], false) as shape,
        coalesce(datasets.classes[outputs.prediction + 1] = samples.factors['texture'], false) as texture
    from outputs
    join runs using (run_id)
    join datasets using (dataset_id)
    join samples on samples.dataset_id = runs.dataset_id and samples.sample_id = outputs.sample_id
    where outputs.run_id = ? and samples.factors['shape'] <> samples.factors['texture']
"""
"""The images of a run whose shape and texture are of different classes.

`category` is the class of the shape; `shape` and `texture` say whether the prediction is that of the shape or of the
texture: never both, and neither where another class or nothing is predicted (Geirhos et al., arXiv 1811.12231).
"""
