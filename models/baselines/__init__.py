"""The networks CSM-SR is compared with: one file a paper."""
