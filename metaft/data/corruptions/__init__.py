"""The fifteen corruptions of ImageNet-C, five severities each, as pure functions of an image and a random generator."""
