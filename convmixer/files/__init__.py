"""Files that come whole or not at all, files that strangers wrote, and files that are downloaded."""
