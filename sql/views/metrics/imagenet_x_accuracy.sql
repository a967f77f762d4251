-- Accuracy on the images that an ImageNet-X factor sets apart, prototypes left out, and on all annotated ones (factor
-- all). Needs the annotations: qubastore import imagenet-x.
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
-- metaclass: one of 17 groups of classes, as in dog; all for all of them together
-- factor: one of 16 factors, as in pose; all for all annotated images
-- n: images
-- n_correct: images whose prediction is the label
-- accuracy: n_correct / n, 0 to 1
-- low: lower end of the 95 % Wilson interval of the accuracy, 0 to 1
-- high: upper end of it, 0 to 1
--
-- Source: Idrissi et al., ImageNet-X, arXiv 2211.01866; Wilson, JASA 22(158), 1927
with
answers as (
    select
        outputs.run_id,
        split_part(annotations.scheme, '/', 2) as annotation,
        annotations.metaclass,
        unnest(list_append(annotations.factors, 'all')) as factor,
        outputs.prediction = outputs.label as is_right
    from outputs
    join runs using (run_id)
    join datasets using (dataset_id)
    join samples
        on samples.dataset_id = runs.dataset_id
        and samples.sample_id = outputs.sample_id
    join annotations
        on annotations.file_name = regexp_extract(samples.key, '[^/]+$')
    where datasets.label_space = 'imagenet-1k'
        and starts_with(annotations.scheme, 'imagenet-x/')
        and not annotations.is_prototype
),

counted as (
    select
        run_id,
        annotation,
        if(grouping(metaclass) = 1, 'all', metaclass) as metaclass,
        factor,
        count(*) as n,
        count(*) filter (where is_right) as n_correct
    from answers
    group by grouping sets ((run_id, annotation, factor, metaclass), (run_id, annotation, factor))
),

-- Wilson's interval is centred at (p + z^2 / 2n) / (1 + z^2 / n); z is the 97.5 % point of the normal distribution.
intervals as (
    select
        *,
        n_correct / n as share,
        1.959963984540054 ** 2 / n as z2n
    from counted
)

select
    complete_runs.*,
    intervals.annotation,
    intervals.metaclass,
    intervals.factor,
    intervals.n,
    intervals.n_correct,
    intervals.share as accuracy,
    greatest(0, (share + z2n / 2 - sqrt(z2n * (share * (1 - share) + z2n / 4))) / (1 + z2n)) as low,
    least(1, (share + z2n / 2 + sqrt(z2n * (share * (1 - share) + z2n / 4))) / (1 + z2n)) as high
from intervals
join complete_runs using (run_id)
