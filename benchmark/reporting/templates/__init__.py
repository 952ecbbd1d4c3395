"""Templates, styles and scripts of the report."""
