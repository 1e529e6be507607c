"""Limits of what a file of images may hold, as it may come from anywhere."""

MAX_MEMBER_BYTES = 64 * 2**20  # of one image's file
MAX_COMPRESSION = 100  # bytes when unpacked, for each packed one
SMALL = 2**20  # below this many bytes any compression is harmless
