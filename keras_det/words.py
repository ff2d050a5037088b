"""Words that several parts put into their sentences."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and a noun, in the plural except for 1: "1 image", "1,024 images".

    Args:
        number: how many.
        noun: in the singular.
        plural: of the noun, if it is not the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
