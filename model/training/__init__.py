"""Training of the small models that lie in `model/weights/`."""
