"""Running a network over images of any size: tiles, devices, cost, prediction."""
