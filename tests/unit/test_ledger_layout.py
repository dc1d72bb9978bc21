"""The ledger protocol, its SQL and its MongoDB implementation have modules of the same names: one per subject."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import app.ledger

SUBJECTS = [name for _, name, _ in pkgutil.iter_modules(app.ledger.__path__) if name != "outbox"]


def protocol_of(subject: str) -> type:
    module = importlib.import_module(f"app.ledger.{subject}")
    (found,) = [each for each in own_classes(module) if getattr(each, "_is_protocol", False)]
    return found


def own_classes(module: ModuleType) -> list[type]:
    return [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__]


def methods_of(protocol: type) -> set[str]:
    return {name for name, value in vars(protocol).items() if inspect.isfunction(value) and not name.startswith("_")}


@pytest.mark.parametrize("backend", ["sql", "mongo"])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_is_implemented_in_the_module_of_its_name(backend: str, subject: str) -> None:
    wanted = methods_of(protocol_of(subject))
    implementations = own_classes(importlib.import_module(f"app.storage.{backend}.{subject}"))
    assert wanted
    assert any(wanted <= set(dir(each)) for each in implementations)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_ledger_has_every_subject(subject: str) -> None:
    assert protocol_of(subject) in app.ledger.Ledger.__mro__
    assert all(inspect.getdoc(getattr(protocol_of(subject), name)) for name in methods_of(protocol_of(subject)))
