-- How far confidence is from accuracy: ECE and its relatives from reliability_bins, ACE as the transform stored it (it
-- needs kept logits), and the geometric mean of ECE and ACE, which is the QUBA dimension.
--
-- Grain: One row per run.
--
-- run_id: the run
-- model: loader:name; names that several models share end in @ and the start of the model's id
-- dataset: name of the dataset
-- condition: how the inputs were altered; clean means not at all
-- framing: how an image became the input: model (resized and cropped as the model asks) or whole
-- precision: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code
-- decoder: what decoded and resized the images: pillow, torchvision or nvjpeg; pillow for imported predictions
-- n_outputs: samples that the number is over
-- n_failed: samples left out because their image could not be decoded
-- subset: true where the dataset is only part of the official one
-- ece: expected calibration error of the top-1 confidence, 15 bins of equal width, 0 to 1
-- ace: adaptive calibration error, mean over classes, 15 bins of equal count, 0 to 1; null without logits
-- mce: maximum calibration error: the largest distance in any bin that has samples, 0 to 1
-- rms_calibration_error: root of the mean squared distance over samples, 0 to 1
-- overconfidence: the part of ECE from bins whose confidence is above their accuracy, 0 to 1
-- underconfidence: the part of ECE from bins whose confidence is below their accuracy, 0 to 1
-- calibration_error: geometric mean of ece and ace, 0 to 1; null without logits
--
-- Source: ECE and MCE: Guo et al., ICML 2017; ACE: Nixon et al., Measuring calibration in deep learning, 2019; both:
-- Hesse et al., arXiv 2503.17110
with
expected_error as (
    select
        run_id,
        sum(n / n_outputs * abs(accuracy - confidence) order by bin) as ece,
        max(abs(accuracy - confidence)) as mce,
        sqrt(sum(n / n_outputs * (accuracy - confidence) ** 2 order by bin)) as rms_calibration_error,
        sum(n / n_outputs * greatest(confidence - accuracy, 0) order by bin) as overconfidence,
        sum(n / n_outputs * greatest(accuracy - confidence, 0) order by bin) as underconfidence
    from reliability_bins
    group by run_id
),

adaptive_error as (
    select run_id, value as ace
    from run_metrics
    where metric = 'ace'
)

select
    complete_runs.*,
    expected_error.ece,
    adaptive_error.ace,
    expected_error.mce,
    expected_error.rms_calibration_error,
    expected_error.overconfidence,
    expected_error.underconfidence,
    sqrt(expected_error.ece * adaptive_error.ace) as calibration_error
from expected_error
join complete_runs using (run_id)
left join adaptive_error using (run_id)
