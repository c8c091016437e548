"""interface.py runs, its types are those of the results, and it leaves out nothing public."""

import ast
import importlib.util
import inspect
import re
import types
import typing
from pathlib import Path

import numpy as np
import pdex
import pytest

INTERFACE = Path(__file__).with_name("interface.py")
TREE = ast.parse(INTERFACE.read_text())
#: What a name of interface.py stands for.
ROOTS = {
    "pdex": pdex,
    "space": pdex.PdexNamespace,
    "found": pdex.Calibration,
    "tables": pdex.Tables,
    "facts": pdex.Info,
    "made": pdex.Description,
}


def members(owner):
    """Yield the public names of a module, or of a class, and what they are."""
    if inspect.isclass(owner):
        fields = getattr(owner, "__dataclass_fields__", {})
        names = [name for name in (*fields, *vars(owner)) if not name.startswith("_")]
    elif hasattr(owner, "__all__"):
        names = owner.__all__
    else:
        own = {n: f for n, f in vars(owner).items() if inspect.isfunction(f)}
        names = [n for n, f in own.items() if f.__module__ == owner.__name__ and n[0] != "_"]
    for name in names:
        yield name, getattr(owner, name, None)


def public(owner=pdex, prefix="pdex"):
    """Yield the dotted names of all that is public, and what they are, modules and classes in."""
    for name, thing in members(owner):
        yield f"{prefix}.{name}", thing
        if isinstance(thing, types.ModuleType):
            yield from public(thing, f"{prefix}.{name}")
    if owner is pdex:
        for root in set(ROOTS) - {"pdex"}:
            yield from public(ROOTS[root], root)


PUBLIC = dict(public())
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if inspect.isfunction(thing)}


def calls():
    """Yield (dotted name, call) of every call outside `wrong`."""
    for part in TREE.body:
        if isinstance(part, ast.FunctionDef) and part.name != "wrong":
            for node in ast.walk(part):
                if isinstance(node, ast.Call):
                    yield ast.unparse(node.func), node


def wanted(function):
    """Return the parameters of a function, with the valid words of those that take words."""
    parameters = {}
    for name, parameter in inspect.signature(function).parameters.items():
        options = re.fullmatch(r"Unpack\[(\w+)\]", str(parameter.annotation))
        if options:
            module = inspect.getmodule(function)
            pvalues = importlib.import_module("pdex._plotting.pvalues")
            kind = getattr(module, options[1], None) or getattr(pvalues, options[1])
            parameters |= {n: words(h) for n, h in typing.get_type_hints(kind).items()}
        elif name != "self":
            assert parameter.kind is not parameter.VAR_KEYWORD, f"{name} of {function} has no type"
            hint = inspect.unwrap(function).__globals__.get(
                str(parameter.annotation).split(" | ")[0]
            )
            parameters[name] = words(hint)
    return parameters


def words(hint):
    return set(typing.get_args(hint)) if typing.get_origin(hint) is typing.Literal else set()


def used(name, function):
    """Return the parameters that interface.py gives to a function, with the words among them."""
    places = [p for p in inspect.signature(function).parameters if p != "self"]
    found = {}
    for called, call in calls():
        if called == name:
            given = dict(zip(places, call.args, strict=False))
            given |= {word.arg: word.value for word in call.keywords}
            for parameter, value in given.items():
                found.setdefault(parameter, set())
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found[parameter].add(value.value)
    return found


def test_every_public_name_is_used():
    named = {ast.unparse(node) for node in ast.walk(TREE) if isinstance(node, ast.Attribute)}
    assert len(PUBLIC) > 30
    assert set(PUBLIC) - named == set()


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_parameter_and_word_is_used(name):
    function = FUNCTIONS[name]
    given = used(name, function)
    for parameter, valid in wanted(function).items():
        assert parameter in given, f"{name} has {parameter}"
        # PDEX_MODES has a name that is public, and "ref" has it.
        known = given[parameter] | ({"ref"} if parameter == "mode" else set())
        assert valid <= known, f"{parameter} of {name} takes {valid - known}"


def test_words_are_those_that_the_options_check():
    assert wanted(pdex.de)["test"] == {"wilcoxon", "anderson", "ttest", "ks"}
    assert wanted(pdex.de)["fdr"] == {"target", "all"}
    assert wanted(pdex.parallel_differential_expression)["metric"] == {
        "wilcoxon",
        "anderson",
        "t-test",
    }
    from pdex._validate import DEFAULTS, OPTIONS, Test

    assert set(typing.get_args(Test)) == set(DEFAULTS)
    assert set(OPTIONS) == {name for options in DEFAULTS.values() for name in options}
    for function in (pdex.de, pdex.sink_de, pdex.calibrate):
        parameters = inspect.signature(function).parameters
        assert {name: parameters[name].default for name in OPTIONS} == OPTIONS


def test_options_of_plot_are_those_of_pvalues():
    assert set(wanted(pdex.Calibration.plot)) == set(wanted(pdex.pl.pvalues)) - {"frame"}
    own, other = (inspect.signature(f).parameters for f in (pdex.Calibration.plot, pdex.pl.pvalues))
    assert list(own.values())[1:] == list(other.values())[1:]


def holds(value, hint):
    """assert_type, as it would be at run time."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any:
        return value
    if origin is typing.Literal:
        assert value in parts
    elif origin in (typing.Union, types.UnionType):
        kinds = tuple(typing.get_origin(part) or part for part in parts)
        assert isinstance(value, kinds), f"{type(value)} is not {hint}"
    elif origin is tuple:
        for one, part in zip(value, parts, strict=True):
            holds(one, part)
    else:
        assert isinstance(value, origin or hint), f"{type(value)} is not {hint}"
        items = value.items() if origin is dict else value if origin is list else ()
        for one in items:
            holds(one, tuple[parts] if origin is dict else parts[0])
    return value


@pytest.fixture(scope="module")
def interface():
    spec = importlib.util.spec_from_file_location("interface", INTERFACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.assert_type = holds
    return module


@pytest.fixture(scope="module")
def screen(interface):
    screen = interface.simulated()
    screen.obs["guide"] = [f"guide {i % 5}" for i in range(screen.n_obs)]
    screen.obs["batch"] = [f"batch {i % 2}" for i in range(screen.n_obs)]
    screen.obs["target gene"] = [f"g{code}" for code in screen.obs["target"].cat.codes]
    screen.layers["log"] = screen.X.log1p()
    screen.layers["noise"] = np.random.default_rng(0).normal(size=screen.shape)
    screen.raw = screen.copy()
    return screen


@pytest.fixture
def path(screen, tmp_path):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    return tmp_path / "screen.h5ad"


def test_results_have_the_types_that_are_said(interface, screen, path, tmp_path):
    frame = interface.scanned(screen, path)
    interface.expressions(frame)
    interface.namespace(frame)
    interface.counted(screen, path, tmp_path)
    dask = pytest.importorskip("dask", reason="engine='dask' needs Dask")
    with dask.config.set(scheduler="threads"):
        assert interface.on_cluster(path, tmp_path).collect().height > 0
    result = interface.jobs(screen, path, tmp_path / "de.parquet")
    interface.told(screen, path)
    interface.written(screen, tmp_path)
    interface.refused(screen)
    found = interface.calibrated(screen)
    interface.pictures(result)
    interface.pages(result, found, tmp_path)


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_older_interfaces_return_what_is_said(interface, screen, other):
    interface.as_in_03(screen.copy(), other)
    interface.as_in_01(screen.copy(), other)
    interface.as_in_scanpy(screen.copy(), other)


def statements():
    wrong = next(part for part in TREE.body if getattr(part, "name", "") == "wrong")
    return wrong.body


@pytest.mark.filterwarnings("error::UserWarning")
def test_what_checkers_refuse_is_refused_at_run_time(interface, screen, tmp_path):
    lines, n_refused = INTERFACE.read_text().splitlines(), 0
    names = {**vars(interface), "screen": screen, "folder": tmp_path}
    for statement in statements():
        run = compile(ast.Module([statement], []), str(INTERFACE), "exec")
        if "# type: ignore[" not in lines[statement.end_lineno - 1]:
            exec(run, names)
            continue
        n_refused += 1
        with pytest.raises((TypeError, ValueError, AttributeError, UserWarning)):
            exec(run, names)
    assert n_refused == INTERFACE.read_text().count("# type: ignore[")
