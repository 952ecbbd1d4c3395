"""What every package may import: errors, files, paths, progress, processes, images, registries."""
