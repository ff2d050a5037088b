"""Words that several parts put into their sentences."""


def counted(number: int, noun: str) -> str:
    """A number and a noun, in the plural except for 1: "1 image", "1,024 images"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
