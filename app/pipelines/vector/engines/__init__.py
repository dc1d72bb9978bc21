"""The engines that run a recipe: in process, or in PostGIS."""
