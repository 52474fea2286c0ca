"""What everything above agrees on: dtypes and their promotion, devices, layouts, shape and stride algebra, error texts."""
