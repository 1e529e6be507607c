"""Downloads files, writes them completely or not at all, and reads files from untrusted sources safely."""
