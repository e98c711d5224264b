"""Tune: a dataset folder and a local base model become a version (a LoRA adapter), and later a file to serve."""
