-- How well a classifier on a model's kept features does on another task: transfer. Fitted on the training split, its
-- regularisation or number of neighbours chosen on the validation split, tested once. On VTAB's tasks too this is a
-- probe of frozen features: VTAB's own protocol and the second study (arXiv 2311.09215) fine-tune the whole network.
--
-- Grain: One row per probe.
--
-- model: loader:name; names that several models share end in @ and the start of the model's id
-- task: what the train and test sets have in common, as in vtab/dtd
-- method: linear or knn
-- train_dataset: dataset of the training split
-- val_dataset: dataset of the validation split; null where a fifth of the training split served
-- test_dataset: dataset of the test split
-- framing: how an image became the input
-- condition: how the inputs were altered
-- precision: of the features: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code
-- decoder: of the images: pillow, torchvision or nvjpeg
-- subset: true where one of the datasets is only part of the official one
-- n_train: samples fitted on at last, validation included
-- n_test: samples tested
-- n_classes: classes
-- chosen: what validation chose: the inverse regularisation C, or the number of neighbours
-- val_accuracy: accuracy on the validation split, 0 to 1
-- test_accuracy: top-1 accuracy on the test split, 0 to 1
-- probe_id: the probe
-- created_at: when it was fitted
--
-- Source: VTAB's tasks: Zhai et al., arXiv 1910.04867
select
    train.model,
    probes.task,
    probes.method,
    train.dataset as train_dataset,
    val.dataset as val_dataset,
    test.dataset as test_dataset,
    train.framing,
    train.condition,
    train.precision,
    train.decoder,
    train.subset or coalesce(val.subset, false) or test.subset as subset,
    probes.n_train,
    probes.n_test,
    probes.n_classes,
    probes.chosen,
    probes.val_accuracy,
    probes.test_accuracy,
    probes.probe_id,
    probes.created_at
from probes
join named_runs as train on train.run_id = probes.train_run_id
join named_runs as test on test.run_id = probes.test_run_id
left join named_runs as val on val.run_id = probes.val_run_id
