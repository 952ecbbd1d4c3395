"""Measurements on images with intervals: what is measured, how it is calibrated, and the report."""
