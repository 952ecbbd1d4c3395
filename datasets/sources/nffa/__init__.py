"""NFFA-EUROPE SEM: its sets, releases, download and preparation."""
