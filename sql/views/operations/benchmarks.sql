-- What forward passes of models cost on devices, as measured by qubastore bench: with the input on the device, as in an
-- ingest (images in channels-last order, deterministic algorithms, no TensorFloat-32).
--
-- Grain: One row per model, device, runtime and precision.
--
-- model_id: the model
-- model: its name
-- device: name of the GPU; or of the processor, with the number of threads
-- runtime: what ran the network, as in torch 2.11.0, CUDA 13.0
-- precision: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code
-- height: of the input, pixels
-- width: of the input, pixels
-- latency_ms: median time of a forward pass of one image, from the call until its result is there
-- latency_p99_ms: 99th percentile of these times
-- n_latencies: passes that these are over
-- batch_size: the power of two with most images per second
-- images_per_second: at that batch size
-- ms_per_image: 1000 / images_per_second
-- peak_memory_mb: memory of the GPU at that batch size, weights included, millions of bytes; null on a processor
-- energy_j: energy of the whole GPU per image at that batch size, joules; null where NVML does not give it
-- measured_at: when it was measured
select
    benchmarks.model_id,
    model_names.model,
    benchmarks.device,
    benchmarks.runtime,
    benchmarks.precision,
    benchmarks.height,
    benchmarks.width,
    benchmarks.latency_p50_ms as latency_ms,
    benchmarks.latency_p99_ms,
    benchmarks.n_latencies,
    benchmarks.batch_size,
    benchmarks.images_per_second,
    1000 / benchmarks.images_per_second as ms_per_image,
    benchmarks.peak_memory_mb,
    benchmarks.energy_j,
    benchmarks.measured_at
from device_benchmarks as benchmarks
join model_names using (model_id)
