"""Identity over time: objects that are detected in each frame, and labels that are passed on from frame to frame."""
