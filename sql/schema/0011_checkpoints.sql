-- Checkpoints of a training: which model each of its steps is.

create table checkpoints (training varchar, step bigint, model_id varchar, created_at timestamptz);
comment on table checkpoints is 'One row per training and step that was ingested with name=TRAINING,step=STEP.';
comment on column checkpoints.training is 'name of the training, of your choice';
comment on column checkpoints.step is 'how far the training was, in its own unit: steps, epochs, images';
