"""What the product is measured with: speed, and the published metrics."""
