-- How a model or a person decides where an image has the shape of one class and the texture of another, by the class
-- of the shape.
--
-- Grain: One row per run over such images, or person or imported network in the experiment cue-conflict, and category.
--
-- run_id: the run
-- model: name of the model, person or imported network
-- dataset: name of the dataset
-- condition: how the inputs were altered; clean means not at all
-- framing: how an image became the input: model (resized and cropped as the model asks) or whole
-- precision: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code; null without a run
-- decoder: what decoded and resized the images: pillow, torchvision or nvjpeg; null without a run
-- n_outputs: samples of the run, or trials of an observer
-- n_failed: samples left out because their image could not be decoded; for people, trials without an answer
-- subset: true where the dataset is only part of the official one
-- observer: model, person or network (decisions that were imported)
-- category: class of the shape
-- n: images of that shape whose texture is of another class
-- shape_decisions: share of them whose prediction is the shape, 0 to 1
-- texture_decisions: share of them whose prediction is the texture, 0 to 1
-- shape_bias: shape decisions / (shape + texture decisions), 0 to 1; null without either
--
-- Source: Geirhos et al., arXiv 1811.12231
select
    complete_runs.*,
    'model' as observer,
    datasets.classes[cue_summary.category + 1] as category,
    cue_summary.n,
    cue_summary.n_shape / cue_summary.n as shape_decisions,
    cue_summary.n_texture / cue_summary.n as texture_decisions,
    cue_summary.n_shape / nullif(cue_summary.n_shape + cue_summary.n_texture, 0) as shape_bias
from cue_summary
join complete_runs using (run_id)
join runs using (run_id)
join datasets using (dataset_id)
union all
select
    null, subject, experiment, 'clean', null, null, null, n_trials, n_unanswered, false, observer,
    category,
    n,
    n_shape / nullif(n, 0),
    n_texture / nullif(n, 0),
    n_shape / nullif(n_shape + n_texture, 0)
from human_cues
