"""Read AnnData objects and files for the engine. Modules here never import the expressions."""
