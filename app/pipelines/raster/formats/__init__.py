"""What is particular to each raster format: one module per row of `app.models.formats`, named there as `reader`."""
