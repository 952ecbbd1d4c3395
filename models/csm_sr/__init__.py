"""CSM-SR, the subject of the benchmark."""
