-- What a reliability diagram draws: accuracy and confidence in 15 confidence bins of equal width, (low, high], 0 in
-- the first.
--
-- Grain: One row per run and bin that has samples.
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
-- accuracy: share of the bin's samples that are right, 0 to 1
-- confidence: mean confidence of the bin's samples, 0 to 1
--
-- Source: Guo et al., On calibration of modern neural networks, ICML 2017
select
    complete_runs.*,
    bin_summary.bin,
    (bin_summary.bin - 1) / 15 as low,
    bin_summary.bin / 15 as high,
    bin_summary.n,
    bin_summary.n_correct / bin_summary.n as accuracy,
    bin_summary.sum_confidence / bin_summary.n as confidence
from bin_summary
join complete_runs using (run_id)
