-- How much more often a model errs where a factor sets the image apart than on all annotated images: error on the
-- factor / error overall, prototypes left out. Above 1, the factor makes images hard.
--
-- Grain: One row per run, annotation, metaclass and factor that has images.
--
-- run_id: the run
-- model: loader:name; names that several models share end in @ and the start of the model's id
-- dataset: name of the dataset
-- condition: how the inputs were altered; clean means not at all
-- framing: how an image became the input: model (resized and cropped as the model asks) or whole
-- precision: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code
-- decoder: what decoded and resized the images: pillow, torchvision or nvjpeg; pillow for imported predictions
-- n_outputs: samples of the run
-- n_failed: samples left out because their image could not be decoded
-- subset: true where the dataset is only part of the official one
-- annotation: top (the one factor that stands out most) or multi (every factor that holds)
-- metaclass: one of 17 groups of classes; all for all of them together. The error overall is that of the same metaclass
-- factor: one of 16 factors, as in pose
-- n: images
-- error_ratio: error on the factor / error overall, 0 and up; null where the model makes no error
-- low: the ratio at the upper end of the accuracy's 95 % Wilson interval, the error overall taken as it is
-- high: the ratio at the lower end of it
--
-- Source: Idrissi et al., ImageNet-X, arXiv 2211.01866
with
overall as (
    select run_id, annotation, metaclass, 1 - accuracy as error
    from imagenet_x_accuracy
    where factor = 'all'
)

select
    factors.* exclude (n_correct, accuracy, low, high),
    (1 - factors.accuracy) / nullif(overall.error, 0) as error_ratio,
    (1 - factors.high) / nullif(overall.error, 0) as low,
    (1 - factors.low) / nullif(overall.error, 0) as high
from imagenet_x_accuracy as factors
join overall using (run_id, annotation, metaclass)
where factors.factor <> 'all'
