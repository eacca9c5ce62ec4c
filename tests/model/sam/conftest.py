"""segment_anything imports torchvision, which model.sam makes fit for it first."""

import model.sam  # noqa: F401
