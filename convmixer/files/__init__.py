"""Files that come whole or not at all, and files that strangers wrote."""
