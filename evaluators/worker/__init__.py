"""A single evaluator: decoding images, forward passes, writing the files of shards."""
