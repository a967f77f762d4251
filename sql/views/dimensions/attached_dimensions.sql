-- The quality dimensions of models in attached stores, exports and tables. If something is attached, every connection
-- that queries them has a temporary table in place of this view, filled from the attachments
-- (qubastore/attachments/gather.py); without attachments it is empty.
--
-- Grain: One row per suite, source and model.
--
-- suite: name of the suite
-- source: name of the attachment
-- model: name of the model there
-- architecture: cnn, transformer, ...; null where unknown, as the next two
-- pretraining: data set of the pretraining
-- paradigm: supervised, self-supervised, ...
-- accuracy: top-1 accuracy, 0 to 1
-- adversarial_robustness: 0 and up
-- corruption_robustness: 0 and up
-- ood_robustness: 0 and up
-- calibration_error: 0 to 1, down is better
-- class_balance: 0 to 1
-- object_focus: up to 1
-- shape_bias: 0 to 1
-- parameters_m: millions of parameters, down is better
-- macs_g: billions of multiply-accumulates for one image
-- activations_m: millions of activations for one image
select
    null::varchar as suite,
    null::varchar as source,
    null::varchar as model,
    null::varchar as architecture,
    null::varchar as pretraining,
    null::varchar as paradigm,
    null::double as accuracy,
    null::double as adversarial_robustness,
    null::double as corruption_robustness,
    null::double as ood_robustness,
    null::double as calibration_error,
    null::double as class_balance,
    null::double as object_focus,
    null::double as shape_bias,
    null::double as parameters_m,
    null::double as macs_g,
    null::double as activations_m
where false
