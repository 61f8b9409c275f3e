"""Saliency maps for photos that have none."""
