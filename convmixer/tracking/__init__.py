"""Writes and reads run folders in labml's format, and sends runs to labml servers."""
