"""Finds the errors that functions may raise, by following names and annotations through the source."""

import ast
from collections.abc import Iterator, Mapping
from functools import cached_property

Function = ast.FunctionDef | ast.AsyncFunctionDef
Place = tuple[str, str]
"""A module, and a name within it: `function`, `Class` or `Class.method`."""


class RaisedErrors:
    """Knows the functions and classes of some modules. `errors` are the names of the classes to look for.

    An error that a function catches does not count for those who call it.
    """

    def __init__(self, sources: Mapping[str, str], errors: set[str]) -> None:
        self._errors = errors
        self._modules = {name: Module(ast.parse(source)) for name, source in sources.items()}
        self._found: dict[Place, set[str]] = {}

    def raised_by(self, place: Place) -> set[str]:
        """Return the errors that a function or one of its callees raises."""
        if place in self._found:
            return self._found[place]
        found = self._found[place] = set()
        module = self._modules.get(place[0])
        function = module.functions.get(place[1]) if module else None
        if function is None:
            return found
        for node in ast.walk(function):
            made = node.exc if isinstance(node, ast.Raise) else node.func if isinstance(node, ast.Call) else None
            if isinstance(made, ast.Name) and made.id in self._errors:
                found.add(made.id)
        for called in self._called(place, function):
            found |= self.raised_by(called)
        caught = {
            each.id for node in ast.walk(function) if isinstance(node, ast.ExceptHandler) for each in names(node.type)
        }
        found -= caught
        return found

    def _called(self, place: Place, function: Function) -> Iterator[Place]:
        """Yield each function and method of these modules that a function names."""
        types = annotated(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Name):
                target = self._target(place[0], node.id)
                if target is not None:
                    yield target
            elif isinstance(node, ast.Attribute):
                owner = self._owner(place, node.value, types)
                if owner is not None:
                    yield (owner[0], f"{owner[1]}.{node.attr}" if owner[1] else node.attr)

    def _owner(self, place: Place, value: ast.expr, types: Mapping[str, str]) -> Place | None:
        """Return the module (with an empty name) or the class whose attribute is named."""
        module, name = place
        if isinstance(value, ast.Name):
            if value.id == "self" and "." in name:
                return module, name.split(".")[0]
            return self._target(module, types.get(value.id, value.id))
        if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id == "self":
            held = self._modules[module].held_types(name.split(".")[0])
            return self._target(module, held[value.attr]) if value.attr in held else None
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
            maker = self._target(module, value.func.id)
            made = self._modules[maker[0]].functions.get(maker[1]) if maker else None
            if maker and made is not None and isinstance(made.returns, ast.Name):
                return self._target(maker[0], made.returns.id)
        return None

    def _target(self, module: str, name: str) -> Place | None:
        """Return where a name of a module is defined; a module that it imports has an empty name."""
        known = self._modules[module]
        if name in known.functions or name in known.classes:
            return module, name
        source, original = known.imported.get(name, ("", ""))
        if f"{source}.{original}" in self._modules:
            return f"{source}.{original}", ""
        return self._target(source, original) if source in self._modules else None


class Module:
    """The definitions and imports of a module."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def functions(self) -> dict[str, Function]:
        """Functions by name, methods as `Class.method`."""
        found = {node.name: node for node in self._tree.body if isinstance(node, Function)}
        for name, owner in self.classes.items():
            found |= {f"{name}.{node.name}": node for node in owner.body if isinstance(node, Function)}
        return found

    @cached_property
    def imported(self) -> dict[str, tuple[str, str]]:
        """Module and original name of each import."""
        return {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.walk(self._tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }

    def held_types(self, class_name: str) -> dict[str, str]:
        """Return the class of each attribute that the constructor sets."""
        constructor = self.functions.get(f"{class_name}.__init__")
        if constructor is None:
            return {}
        types, held = annotated(constructor), {}
        for node in ast.walk(constructor):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
                value = node.value.func if isinstance(node.value, ast.Call) else node.value
                if isinstance(value, ast.Name):
                    held[node.targets[0].attr] = types.get(value.id, value.id)
        return held


def annotated(function: Function) -> dict[str, str]:
    """Return the classes that a function's parameters and variables are annotated with."""
    pairs = [(node.arg, node.annotation) for node in ast.walk(function) if isinstance(node, ast.arg)]
    pairs += [
        (node.target.id, node.annotation)
        for node in ast.walk(function)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    return {name: annotation.id for name, annotation in pairs if isinstance(annotation, ast.Name)}


def names(value: ast.expr | None) -> list[ast.Name]:
    return [node for node in ast.walk(value) if isinstance(node, ast.Name)] if value is not None else []
