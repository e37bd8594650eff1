"""CLIP models through open_clip: loading, classifying, saving."""
