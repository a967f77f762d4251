-- How often a model is how confident, right and wrong apart: 15 bins of equal width, (low, high], 0 in the first.
--
-- Grain: One row per run and bin, bins without samples included.
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
-- bin: 1 to 15
-- low: lower edge of the bin, excluded (but for 0), 0 to 1
-- high: upper edge of the bin, included, 0 to 1
-- n: samples in the bin
-- n_correct: samples in the bin that are right
-- share: share of all samples that are in the bin, 0 to 1
--
-- Source: Guo et al., On calibration of modern neural networks, ICML 2017
with
bins as (
    select unnest(range(1, 16))::integer as bin
)

select
    complete_runs.*,
    bins.bin,
    (bins.bin - 1) / 15 as low,
    bins.bin / 15 as high,
    coalesce(bin_summary.n, 0) as n,
    coalesce(bin_summary.n_correct, 0) as n_correct,
    coalesce(bin_summary.n, 0) / nullif(complete_runs.n_outputs, 0) as share
from complete_runs
cross join bins
left join bin_summary
    on bin_summary.run_id = complete_runs.run_id
    and bin_summary.bin = bins.bin
