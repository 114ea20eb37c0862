"""What mkdocs does to a page of the site beside what its plugins do."""

import re

_ROLE = re.compile(r":(?:attr|class|func|meth|mod):<code>(?:~[\w.]*\.)?")


def on_page_content(html: str, **_: object) -> str:
    """Return a page in which docstrings' roles, as in :func:`~module.name`, are plain names."""
    return _ROLE.sub("<code>", html)
