-- What decoded the images of a run, and what models cost on a device (qubastore bench).

alter table runs add column decoder varchar;
update runs set decoder = 'pillow';
comment on table runs is 'One row per run: model x dataset x framing x condition x precision x decoder.';
comment on column runs.decoder is 'what decoded and resized its images: pillow, torchvision or nvjpeg';

alter table own_suites add column decoder varchar;
update own_suites set decoder = 'pillow';
comment on column own_suites.decoder is 'the decoder of the runs that count';

alter table shards add column n_by_pillow integer;
comment on column shards.n_by_pillow is 'images that Pillow decoded because the decoder of the run cannot: not a plain JPEG file; null before schema 9';

create table device_benchmarks (
    model_id varchar, device varchar, runtime varchar, precision varchar, height integer, width integer,
    latency_p50_ms double, latency_p99_ms double, n_latencies integer, batch_size integer, images_per_second double,
    peak_memory_mb double, energy_j double, measured_at timestamptz
);
comment on table device_benchmarks is 'What the forward passes of a model cost on a device: one row per model, device, runtime and precision, the newest.';
comment on column device_benchmarks.device is 'name of the GPU; or of the processor, with the number of threads';
comment on column device_benchmarks.runtime is 'what ran the network, as in torch 2.11.0, CUDA 13.0';
comment on column device_benchmarks.height is 'of the input, pixels, as the next';
comment on column device_benchmarks.latency_p50_ms is 'median time of a forward pass of one image, from the call until its result is there';
comment on column device_benchmarks.latency_p99_ms is '99th percentile of these times';
comment on column device_benchmarks.n_latencies is 'number of passes that these are over';
comment on column device_benchmarks.batch_size is 'the batch size, a power of two, with most images per second';
comment on column device_benchmarks.images_per_second is 'images per second at that batch size';
comment on column device_benchmarks.peak_memory_mb is 'most memory of the GPU that was allocated at that batch size, weights included, millions of bytes; null on a processor';
comment on column device_benchmarks.energy_j is 'energy of the whole GPU per image at that batch size, as NVML counts it; null where it does not';
