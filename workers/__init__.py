"""Whatever carries jobs out."""
