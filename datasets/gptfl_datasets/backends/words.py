"""Labels as they are said and written in a sentence."""


def spoken(label: str) -> str:
    """Return a label as it is said: underscores as blanks, none of them twice or at an end.

    >>> spoken("crying_baby ")
    'crying baby'
    """
    return " ".join(label.replace("_", " ").split())


def article(name: str) -> str:
    """Return the indefinite article that fits a name by its spelling.

    >>> article("airplane"), article("one"), article("Unicorn"), article("deer")
    ('an', 'a', 'a', 'a')
    """
    said = name.lower()
    # Vowels that are spoken as consonants.
    if said.startswith(("one", "uni", "use", "eu")) or not said.startswith(tuple("aeiou")):
        return "a"
    return "an"
