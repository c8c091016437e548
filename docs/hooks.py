"""What mkdocs does not do by itself: `mkdocs.yml` names this file.

- Pages of the root (README, CHANGELOG, CONTRIBUTING, ...) are pages of the site; links to them, and
  from them into docs/, are right on both.
- The notebook docs/tutorial.ipynb becomes a page, with the outputs stored in it.
- ``$...$`` and ``$$...$$``, which arithmatex finds, become MathML: no script draws them.
- Sphinx' roles in docstrings (``:func:`pdex.de```) become links.
"""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]

#: Pages that lie in the root or are no Markdown, by the page of the site that shows each.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CITATION.cff": "CITATION.cff",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "SECURITY.md": "security.md",
    "docs/tutorial.ipynb": "tutorial.md",
}

_LINK = re.compile(r"(?<=\]\()([^()\s]+)(?=\))")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">(?:\\\(|\\\[)(.*?)(?:\\\)|\\\])</\1>', re.S)
_ROLE = re.compile(r":(?:func|class|mod|meth):<code>(?:~)?([\w.]+)</code>")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie in the root, and the notebook."""
    for source, page in PAGES.items():
        if source.endswith(".ipynb"):
            for path, content in notebook(source, page).items():
                files.append(File.generated(config, path, content=content))
        else:
            text = relinked((ROOT / source).read_text(), "", page)
            files.append(File.generated(config, page, content=text))
    return files


def notebook(source: str, page: str) -> dict[str, str | bytes]:
    """Return a notebook as a page of the site, with its pictures, by their paths."""
    # Frames are shown as text, as on all pages.
    exporter = MarkdownExporter(
        config={"NbConvertBase": {"display_data_priority": ["image/png", "text/plain"]}}
    )
    name = page.removesuffix(".md")
    text, found = exporter.from_filename(
        str(ROOT / source), {"unique_key": name, "output_files_dir": name}
    )
    text = text.replace("![png](", "![What the code above draws](")
    text = relinked(text, posixpath.dirname(source), page)
    here = posixpath.relpath(source.removeprefix("docs/"), posixpath.dirname(page) or ".")
    text += f"\n\n[Download this page as a notebook]({here})\n"
    return {page: text, **found["outputs"]}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to the pages that lie elsewhere."""
    path = page.file.src_uri
    if path in PAGES.values():
        return markdown
    return relinked(markdown, posixpath.join("docs", posixpath.dirname(path)), path)


def on_page_content(content: str, **_: Any) -> str:
    """Draw formulas and link roles."""
    content = _FORMULA.sub(lambda found: mathml(found[2], found[1] == "div"), content)
    return _ROLE.sub(lambda found: _reference(found[1]), content)


def mathml(latex: str, block: bool) -> str:
    """Return a formula as MathML; the LaTeX is what a reader copies."""
    source = html.unescape(latex).strip()
    drawn = convert(source, display="block" if block else "inline")
    return f'<div class="formula">{drawn}</div>' if block else drawn


def relinked(text: str, folder: str, page: str) -> str:
    """Return Markdown of `folder` of the project with its links as the site's `page` needs them.

    Links within docs/ stay as they are in pages of docs/.
    """

    def turn(found: re.Match[str]) -> str:
        link, hash_, anchor = found[1].partition("#")
        if not link or ":" in link:
            return found[1]
        target = posixpath.normpath(posixpath.join(folder, link))
        target = PAGES.get(target, target.removeprefix("docs/"))
        here = posixpath.dirname(page) or "."
        return posixpath.relpath(target, here) + hash_ + anchor

    return _LINK.sub(turn, text)


def _reference(name: str) -> str:
    return f'<autoref optional identifier="{name}"><code>{name}</code></autoref>'
