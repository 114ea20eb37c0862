"""What mkdocs does to a page of the site beside what its plugins do."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPORTS = Path(__file__).resolve().parents[1] / "reports"
_ROLE = re.compile(r":(?:attr|class|func|meth|mod):<code>(?:~[\w.]*\.)?")


def on_page_content(html: str, **_: object) -> str:
    """Return a page in which docstrings' roles, as in :func:`~module.name`, are plain names."""
    return _ROLE.sub("<code>", html)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Return a page whose links to the results lead to where they are on the site."""
    return markdown.replace("](../reports/", "](")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the pages with those of the results, which lie beside their records, and figures."""
    figures = sorted((REPORTS / "figures").glob("*.svg"))
    for path in (REPORTS / "RESULTS.md", REPORTS / "QUESTIONS.md", *figures):
        name = path.relative_to(REPORTS).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files
