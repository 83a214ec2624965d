"""Loading, sampling, merging and the lineage of checkpoints."""
