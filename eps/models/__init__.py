"""Classifier and segmenter, made of parts handed in."""
