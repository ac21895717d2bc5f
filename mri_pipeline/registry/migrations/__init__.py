"""Migrations of the registry between its layouts, run by alembic (`mri_pipeline.registry.migrate`)."""
