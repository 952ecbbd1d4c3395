"""The datasets, one file each; NFFA a folder."""
