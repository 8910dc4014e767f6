"""What is done to a clip: one file a transform. A transform is `Config`, `SETS` and `Transform(cfg)(clips)`."""
