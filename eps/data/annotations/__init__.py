"""Annotations as people's tools write them (labelme, VOC's XML), and their conversion to COCO's format."""
