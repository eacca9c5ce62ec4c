"""The published metrics, from masks, boxes and ids alone."""
