"""What every configuration here is: a frozen, nested, validated record whose fields are documented where they stand.

A field's docstring is its help text, its entry in the docs and its label in the web form. Unknown keys are
rejected with the nearest match; values that do not fit are rejected with the value and what was expected; and
all complaints come at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from glassformer.errors import ConfigError, nearest, shown
from glassformer.numbers import NumberError, TooLargeError, read_integer, read_number

Tree = dict[str, Any]

LARGEST = 10**15
"""No count of anything here is larger: beyond it integers overflow, and no training would ever end."""

Count = Annotated[int, Field(ge=1, le=LARGEST)]
Natural = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=2**64)]

DEEPEST = 100
"""Levels of nesting that are read; no configuration has ten."""

KIND = "task"
"""Where a field may hold one of several configurations, each declares this field with its own name as the default."""


class Config(BaseModel):
    """A frozen record of settings. Subclasses override :meth:`complaints` for what fields say only together."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
    )

    def complaints(self) -> Iterator[str]:
        """Every reason why these settings, each fine alone, cannot work together."""
        yield from ()

    @model_validator(mode="after")
    def _check_every_field(self) -> Self:
        found = [*_not_finite(self), *self.complaints()]
        if found:
            raise ValueError(encodable("\n".join(found)))
        return self

    @classmethod
    def build(cls, tree: Mapping[str, Any], *, base: Self | None = None, subject: str = "") -> Self:
        """Read a nested mapping, or raise one :class:`ConfigError` that holds every complaint.

        With ``base``, a value that is rejected is reset to the base's, so that the complaints about the
        *other* values still come in the same message.
        """
        subject = subject or cls.subject()
        if _depth_exceeds(tree, DEEPEST):
            raise ConfigError(f"it is nested more than {DEEPEST} levels deep.", subject=subject)
        try:
            return cls.model_validate(_jsonable(tree))
        except ValidationError as error:
            complaints = list(_explain(cls, error))
            if base is not None:
                complaints += _complaints_of_the_rest(cls, tree, base.to_dict(), error)
            raise ConfigError(dict.fromkeys(complaints), subject=subject) from None

    @classmethod
    def subject(cls) -> str:
        """What messages call this configuration."""
        return "configuration"

    @classmethod
    def kinds(cls) -> tuple[type[Config], ...]:
        """The configurations that a field of this type may hold: itself, or those registered under a common base."""
        return (cls,)

    def override(self, changes: Mapping[str, Any]) -> Self:
        """A copy with dotted changes: ``config.override({"attention.n_heads": 8, "residual": "none"})``.

        Values may be text, as a command line gives them (``"8"``, ``"true"``, ``"none"``); they are read as the
        field's type.
        """
        tree = self.to_dict()
        complaints = []
        for path, value in changes.items():
            try:
                _put(type(self), tree, path.split("."), value, path)
            except ConfigError as error:
                complaints += error.complaints
        try:
            result = type(self).build(tree, base=self)
        except ConfigError as error:
            raise ConfigError([*complaints, *error.complaints], subject=error.subject) from None
        if complaints:
            raise ConfigError(complaints, subject=self.subject())
        return result

    def to_dict(self) -> Tree:
        """The nested plain mapping that :meth:`build` reads back."""
        tree: Tree = self.model_dump(mode="json")
        return tree

    def to_json(self) -> str:
        """The same as indented JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"


def parse(text: str, *, toml: bool = False) -> Any:
    """The value of JSON (or TOML) text; a ``ValueError`` says what is wrong, nesting without end included."""
    try:
        value = tomllib.loads(text) if toml else json.loads(text)
    except RecursionError:
        value = None
        deep = True
    else:
        deep = _depth_exceeds(value, DEEPEST)
    if deep:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    return value


def _not_finite(config: Config) -> Iterator[str]:
    """A complaint for each number in free-form options that JSON cannot hold; typed fields check their own."""
    for name, value in config:
        if isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, float) and not math.isfinite(inner):
                    yield f"{name}.{key} is {inner}; expected a finite number."


def encodable(text: str) -> str:
    """Without lone surrogates, as stand for undecodable bytes of a command line; pydantic cannot carry them."""
    return text.encode("utf-8", "backslashreplace").decode()


def _depth_exceeds(value: Any, levels: int) -> bool:
    found = [value]
    for _ in range(levels):
        inner = [each.values() if isinstance(each, Mapping) else each for each in found if _is_nested(each)]
        found = [item for items in inner for item in items]
    return any(map(_is_nested, found))


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Read ``["model.residual=none", "training.seed=3"]`` into a mapping; every malformed one is named."""
    changes, complaints = {}, []
    for assignment in assignments:
        path, sign, value = assignment.partition("=")
        if not sign or not path.strip():
            complaints.append(f"--set takes NAME=VALUE, as in model.residual=none; it got {shown(assignment)}.")
        else:
            changes[path.strip()] = value.strip()
    if complaints:
        raise ConfigError(complaints, subject="command")
    return changes


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted settings, however the mappings were nested; an empty mapping has none."""
    settings: dict[str, Any] = {}
    for key, value in tree.items():
        settings |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return settings


def value_at(config: Config | Mapping[str, Any], path: str) -> Any:
    """The value of a dotted setting, or the group of settings of that name; None where there is none."""
    value: Any = config
    for name in path.split("."):
        if isinstance(value, Config):
            value = getattr(value, name, None)
        else:
            value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _put(cls: type[Config], tree: Tree, path: list[str], value: Any, whole: str) -> None:
    """Set one dotted path in ``tree``, reading text as the declared type of the field."""
    head, *rest = path
    if head not in cls.model_fields:
        raise ConfigError(f"'{whole}' is not a setting. {nearest(head, cls.model_fields)}")
    annotation = cls.model_fields[head].annotation
    inner = _config_class(annotation, tree.get(head))
    if rest:
        if inner is None:
            if _accepts_mapping(annotation):  # free-form options of a user's part
                tree.setdefault(head, {})[".".join(rest)] = _read_loose(value)
                return
            raise ConfigError(f"'{whole}' is not a setting: '{head}' is a value, it has no parts of its own.")
        if not isinstance(tree.get(head), dict):
            tree[head] = {}
        _put(inner, tree[head], rest, value, whole)
    elif inner is not None and not isinstance(value, Mapping) and not _reads_none(annotation, value):
        names = ", ".join(f"{whole}.{name}" for name in list(inner.model_fields)[:3])
        raise ConfigError(f"'{whole}' is a group of settings, not one value; set one of them, as in {names}.")
    else:
        try:
            tree[head] = _read(annotation, value)
        except NumberError as error:
            raise ConfigError(f"{whole}: {error}") from None


def _read(annotation: Any, value: Any) -> Any:
    """Text as a value of the annotated type; anything that is not text, and text that does not fit, unchanged.

    Raises:
        NumberError: a number is expected, and the text is nearly one: it must be written otherwise.
    """
    if not isinstance(value, str):
        return value
    choices = _members(annotation)
    if value in [choice for member in choices for choice in typing.get_args(member) if _is_literal(member)]:
        return value
    if type(None) in choices and value.lower() in ("none", "null"):
        return None
    if bool in choices and value.lower() in ("true", "false", "yes", "no", "on", "off"):
        return value.lower() in ("true", "yes", "on")
    nearly = None
    for kind, read in ((int, read_integer), (float, read_number)):
        if kind in choices:
            try:
                return read(value)
            except NumberError as error:
                nearly = error if error.suggestion is not None or isinstance(error, TooLargeError) else None
    if str in choices:
        return value
    if nearly is not None:
        raise nearly
    for member in choices:
        if typing.get_origin(member) in (tuple, list):
            inside = typing.get_args(member)[0]
            return [_read(inside, item.strip()) for item in value.strip("[]()").split(",") if item.strip()]
    return value


def _read_loose(value: Any) -> Any:
    """Text as JSON where it is JSON (``3``, ``0.5``, ``true``) or a number (``.5``, ``1_000``), else the same text."""
    if not isinstance(value, str):
        return value
    with contextlib.suppress(ValueError):
        return parse(value)
    if not {*value} & {*", '’"}:  # "1,5" and "1 234" may as well be lists
        for read in (read_integer, read_number):
            with contextlib.suppress(NumberError):
                return read(value)
    return value


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, each once; a plain type is its own only member. ``Annotated`` is looked through."""
    if hasattr(annotation, "__metadata__"):
        return _members(annotation.__origin__)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(member for option in typing.get_args(annotation) for member in _members(option))
    return (annotation,)


def _is_literal(annotation: Any) -> bool:
    return typing.get_origin(annotation) is typing.Literal


def _accepts_mapping(annotation: Any) -> bool:
    return any(typing.get_origin(member) in (dict, Mapping) for member in _members(annotation))


def _reads_none(annotation: Any, value: Any) -> bool:
    optional = type(None) in _members(annotation)
    return optional and (value is None or (isinstance(value, str) and value.lower() in ("none", "null")))


def _config_class(annotation: Any, tree: Any = None) -> type[Config] | None:
    """The configuration that a field holds; of several, the one whose kind the tree names, or else the first."""
    classes = [member for member in _members(annotation) if isinstance(member, type) and issubclass(member, Config)]
    found = [kind for each in classes for kind in each.kinds()]
    named = tree.get(KIND) if isinstance(tree, Mapping) else None
    for member in found:
        if KIND in member.model_fields and member.model_fields[KIND].default == named:
            return member
    return found[0] if found else None


def kind_tag(value: Any) -> str:
    """The discriminator of a field's union of configurations: ``task=`` and its kind."""
    named = value.get(KIND, "") if isinstance(value, Mapping) else getattr(value, KIND, "")
    return f"{KIND}={named}"


def _location(item: Any) -> list[str]:
    """Where a complaint belongs, without the tags that chose between configurations."""
    return [str(part) for part in item["loc"] if not str(part).startswith(f"{KIND}=")]


def _jsonable(value: Any) -> Any:
    """Lists for tuples and dicts for configs, so that strict validation sees what JSON would hold."""
    if isinstance(value, Config):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_jsonable(item) for item in value)
    return value


def _explain(cls: type[Config], error: ValidationError) -> Iterator[str]:
    """Pydantic's complaints in our words: the dotted name, the value, what was expected."""
    for item in error.errors():
        names = _location(item)
        path, value = ".".join(names), item["input"]
        if item["type"] == "extra_forbidden":
            yield f"'{path}' is not a setting. {nearest(names[-1], _fields_at(cls, item['loc'][:-1]))}"
        elif item["type"] == "missing":
            yield f"{path} is missing."
        elif item["type"] == "value_error":
            yield from str(item["ctx"]["error"]).split("\n")
        else:
            expected = item["msg"].removeprefix("Input should be ").removeprefix("String should have ")
            yield f"{path} is {shown(value)}; expected {expected}."


def _fields_at(cls: type[Config], location: Sequence[Any]) -> Iterator[str]:
    """The settings of the configuration at pydantic's location, whose tags say which of several it is."""
    field = None
    for name in map(str, location):
        if name.startswith(f"{KIND}="):
            assert field is not None
            cls = _config_class(field.annotation, {KIND: name.partition("=")[2]}) or cls
            continue
        field = cls.model_fields.get(name)
        inner = _config_class(field.annotation) if field else None
        if inner is None:
            return
        cls = inner
    yield from cls.model_fields


def _complaints_of_the_rest(
    cls: type[Config], tree: Mapping[str, Any], base: Tree, error: ValidationError
) -> list[str]:
    """The complaints about everything else, once each rejected value is reset to the base's."""
    valid: Tree = json.loads(json.dumps(_jsonable(tree)))
    rejected = [_location(item) for item in error.errors() if item["type"] != "value_error"]
    if not rejected:
        return []
    for loc in rejected:
        target, source = valid, base
        for name in loc[:-1]:
            if not isinstance(target.get(name), dict):
                target.pop(name, None)  # of an item of a list, the list
                target.update({name: source[name]} if name in source else {})
                break
            target, source = target[name], source.get(name) or {}
        else:
            last = loc[-1]
            if last in source:
                target[last] = source[last]
            else:
                target.pop(last, None)
    try:
        cls.model_validate(_jsonable(valid))
    except ValidationError as rest:
        gone = [f"{'.'.join(loc)} is missing." for loc in rejected]  # the base has none to put there
        return [complaint for complaint in _explain(cls, rest) if complaint not in gone]
    return []
