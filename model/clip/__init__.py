"""The ConvNeXt CLIP of open_clip as a classifier of regions.

region_classifier.py   masks and labels in words -> a probability for every label
"""

import model.torchvision_ops  # noqa: F401  (before open_clip and timm import torchvision)
