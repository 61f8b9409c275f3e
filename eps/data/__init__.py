"""Datasets, transforms and the files that we write."""
