"""SAM through the segment-anything package."""

import model.torchvision_ops  # noqa: F401 - segment_anything imports torchvision
