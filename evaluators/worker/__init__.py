"""What one evaluator does: decoding images, forward passes, files of shards."""
