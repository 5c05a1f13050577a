"""Pictures and captions: opening them, the ones that ship, and words to try."""
