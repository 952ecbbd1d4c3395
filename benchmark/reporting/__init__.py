"""The report: a pure function of the score store."""
