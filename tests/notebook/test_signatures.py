"""What tab completion shows: real names with defaults, and a first line that says what it does."""

import inspect

import pdex
import pytest

#: Those of pdex 0.1 and 0.3 took any keyword, and so do theirs.
ANY_KEYWORD = {"parallel_differential_expression", "pdex"}


def public():
    """Every public function, class and method, by its name."""
    found = {name: getattr(pdex, name) for name in pdex.__all__ if name != "PDEX_MODES"}
    for module in (pdex.pl, pdex.tl, pdex.datasets, pdex.exceptions):
        found |= {f"{module.__name__[5:]}.{n}": getattr(module, n) for n in module.__all__}
    for name, one in list(found.items()):
        if inspect.isclass(one) and not issubclass(one, BaseException | Warning):
            methods = {n: m for n, m in vars(one).items() if callable(m) and n[0] != "_"}
            found |= {f"{name}.{n}": method for n, method in methods.items()}
    return {name: one for name, one in found.items() if callable(one)}


PUBLIC = public()


def test_all_of_them_are_seen():
    assert len(PUBLIC) == 40
    assert {"de", "wilcoxon", "PdexNamespace.ks", "Calibration.plot", "pl.ma"} <= set(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_signatures_have_real_names_and_types(name):
    one = PUBLIC[name]
    if isinstance(one, type) and issubclass(one, Exception):
        return
    parameters = list(inspect.signature(one).parameters.values())
    stars = [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert len(stars) == (name in ANY_KEYWORD)
    assert all(p.annotation is not p.empty for p in parameters if p.name != "self")
    # Options, behind the star, have defaults that can be read; `reference` is asked for.
    needed = {p.name for p in parameters if p.kind == p.KEYWORD_ONLY and p.default is p.empty}
    assert needed <= {"reference", "output"}
    defaults = [repr(p.default) for p in parameters if p.default is not p.empty]
    # A description is made by pdex, and has a list that is made anew.
    assert [text for text in defaults if text[0] == "<"] == ["<factory>"] * (name == "Description")


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_first_lines_say_what_it_does(name):
    first = inspect.getdoc(PUBLIC[name]).splitlines()[0]
    assert 20 < len(first) <= 100
    assert first.endswith((".", ":")) or "; " in first
    assert inspect.getdoc(PUBLIC[name]).count("\n") == 0 or (
        inspect.getdoc(PUBLIC[name]).splitlines()[1] == ""
    )


def test_completion_shows_what_is_public():
    jedi = pytest.importorskip("jedi", reason="jedi comes with IPython, and that with ipykernel")
    complete = jedi.Interpreter("pdex.", [{"pdex": pdex}]).complete()
    shown = {one.name for one in complete if not one.name.startswith("_")}
    assert shown == {name for name in pdex.__all__ if not name.startswith("_")}
    (shown,) = jedi.Interpreter("pdex.de(", [{"pdex": pdex}]).get_signatures()
    names = [one.name for one in shown.params]
    assert names == list(inspect.signature(pdex.de).parameters)
    assert "reference: 'str | Iterable[str]'='non-targeting'" in shown.to_string()
