"""Text that may come from anyone, as it can be shown on a terminal: escape sequences in it would be obeyed there."""


def printable(text: str) -> str:
    """One line of text, in which characters that are not printed are written out, as `\\x1b`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
