"""Settings: dotted overrides, text read by type, every complaint at once, nearest match, frozen, JSON round trips."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from glassformer.config import DEEPEST, Config, flat, parse, parse_assignments, value_at
from glassformer.errors import ConfigError, nearest


class Engine(Config):
    """An engine."""

    power: Annotated[int, Field(ge=1)] = 100
    """In kilowatts."""
    fuel: Literal["petrol", "none"] = "petrol"
    """What it burns."""


class Car(Config):
    """A car, with a field of every type that settings have."""

    name: str
    """What it is called."""
    doors: int = 4
    """Doors."""
    length: float = 4.2
    """In metres."""
    roof: bool = True
    """Whether there is one."""
    trailer: int | None = None
    """Its load; none for no trailer."""
    sizes: tuple[int, ...] = ()
    """Of the wheels."""
    notes: tuple[str, ...] = ()
    """What else there is to say."""
    limit: float | Literal["auto"] = "auto"
    """Fastest."""
    engine: Engine = Engine()
    """What drives it."""
    spare: Engine | None = None
    """A second engine."""
    options: dict[str, Any] = {}
    """Free-form."""

    @classmethod
    def subject(cls) -> str:
        return "car"

    def complaints(self):
        if self.roof and self.length > 20:
            yield f"length is {self.length}, too long for a roof."
        if self.doors > 4 and self.length < 2:
            yield f"doors is {self.doors}, and length {self.length}."


CAR = Car(name="a")


def complaints_of(build):
    with pytest.raises(ConfigError) as caught:
        build()
    return caught.value.complaints


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("name", "none", "none"),
        ("name", "3", "3"),
        ("doors", "5", 5),
        ("doors", "1_000", 1000),
        ("doors", "1e3", 1000),
        ("doors", "2.0", 2),
        ("doors", "1,000,000", 1_000_000),
        ("length", "3", 3.0),
        ("length", "1e-3", 1e-3),
        ("roof", "false", False),
        ("roof", "On", True),
        ("roof", "no", False),
        ("trailer", "7", 7),
        ("trailer", "none", None),
        ("trailer", "Null", None),
        ("sizes", "1, 2,3", (1, 2, 3)),
        ("sizes", "[4]", (4,)),
        ("sizes", "", ()),
        ("notes", "a.py,b.py", ("a.py", "b.py")),
        ("limit", "auto", "auto"),
        ("limit", "2.5", 2.5),
        ("engine.power", "7", 7),
        ("engine.fuel", "none", "none"),
        ("spare", "none", None),
        ("spare.power", "3", Engine(power=3)),
        ("options.depth", "3", {"depth": 3}),
        ("options.depth", "1_000", {"depth": 1000}),
        ("options.depth", ".5", {"depth": 0.5}),
        ("options.depth", "1,5", {"depth": "1,5"}),
        ("options.rate", "0.5", {"rate": 0.5}),
        ("options.flag", "true", {"flag": True}),
        ("options.word", "left", {"word": "left"}),
    ],
)
def test_text_is_read_as_the_fields_type(path, text, value):
    changed = CAR.override({path: text})
    found = changed
    for name in path.split(".")[:1] if path.startswith(("spare", "options")) else path.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_values_that_are_no_text_are_taken_as_they_are():
    changed = CAR.override({"doors": 2, "engine.power": 9, "sizes": (1, 2), "trailer": None, "engine": {"power": 8}})
    assert (changed.doors, changed.sizes, changed.engine.power) == (2, (1, 2), 8)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("doors", "many", "doors is 'many'; expected a valid integer"),
        ("doors", "2.5", "doors is '2.5'; expected a valid integer"),
        ("doors", "1,000", "doors: '1,000' can be read as 1000 or as 1.000"),
        ("doors", "１２", "doors: '１２' is not written with the digits 0 to 9. Write 12."),
        ("doors", "٣", "Write 3."),
        ("doors", "0x10", "doors is '0x10'; expected a valid integer"),
        ("doors", "9" * 40, "is too large"),
        ("length", "1,5", "length: '1,5' has a decimal comma. Write 1.5."),
        ("length", "4,129", "length: '4,129' can be read as 4129 or as 4.129"),
        ("trailer", "1,5", "trailer: '1,5' has a decimal comma"),
        ("limit", "1,5", "limit: '1,5' has a decimal comma"),
        ("options", "[" * 100_000, "options"),
        ("doors", 2.5, "doors is 2.5; expected a valid integer"),
        ("doors", True, "doors is True; expected a valid integer"),
        ("roof", 1, "roof is 1; expected a valid boolean"),
        ("roof", "perhaps", "roof is 'perhaps'; expected a valid boolean"),
        ("length", "inf", "length is inf; expected a finite number"),
        ("length", "nan", "length is nan; expected a finite number"),
        ("engine.power", "0", "engine.power is 0; expected greater than or equal to 1"),
        ("engine.fuel", "steam", "engine.fuel is 'steam'; expected 'petrol' or 'none'"),
        ("name", 3, "name is 3; expected a valid string"),
        ("dors", "3", "'dors' is not a setting. Did you mean 'doors'?"),
        ("engine.powr", "3", "'engine.powr' is not a setting. Did you mean 'power'?"),
        ("doors.left", "3", "'doors' is a value, it has no parts"),
        ("engine", "3", "is a group of settings"),
        ("", "3", "'' is not a setting"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_came_and_what_was_expected(path, value, told):
    (complaint,) = complaints_of(lambda: CAR.override({path: value}))
    assert told in complaint


def test_all_complaints_come_at_once():
    found = complaints_of(
        lambda: CAR.override({"doors": "many", "engine.powr": "1", "engine.fuel": "steam", "length": 21})
    )
    assert len(found) == 4
    assert any("too long for a roof" in complaint for complaint in found)


def test_complaints_about_combinations_all_come():
    class Strange(Car):
        def complaints(self):
            yield "first."
            yield "second."

    assert complaints_of(lambda: Strange.build({"name": "a"})) == ["first.", "second."]


def test_unknown_and_missing_keys_are_named():
    found = complaints_of(lambda: Car.build({"dors": 3, "engine": {"fule": "none"}}))
    assert "name is missing." in found
    assert any("'dors' is not a setting. Did you mean 'doors'?" in complaint for complaint in found)
    assert any("'engine.fule' is not a setting. Did you mean 'fuel'?" in complaint for complaint in found)


def test_the_message_says_what_is_wrong_with_what():
    with pytest.raises(ConfigError, match="The car cannot work: doors is 'x'"):
        CAR.override({"doors": "x"})
    with pytest.raises(ConfigError, match="for 2 reasons:\n  - "):
        CAR.override({"doors": "x", "roof": "x"})


def test_a_config_is_frozen():
    with pytest.raises(ValidationError):
        CAR.doors = 3
    changed = CAR.override({"doors": 3})
    assert (CAR.doors, changed.doors) == (4, 3)


def test_an_override_with_nothing_is_the_same():
    assert CAR.override({}) == CAR


def test_every_field_carries_its_help():
    for config in (Car, Engine):
        assert all(field.description for field in config.model_fields.values())


@given(
    st.fixed_dictionaries(
        {
            "name": st.text(),
            "doors": st.integers(0, 4),
            "length": st.floats(2, 20),
            "roof": st.booleans(),
            "trailer": st.none() | st.integers(0, 9),
            "sizes": st.lists(st.integers(), max_size=3).map(tuple),
            "notes": st.lists(st.text(), max_size=3).map(tuple),
            "limit": st.just("auto") | st.floats(0, 9),
            "engine": st.builds(Engine, power=st.integers(1, 9), fuel=st.sampled_from(["petrol", "none"])),
            "spare": st.none() | st.builds(Engine, power=st.integers(1, 9)),
            "options": st.dictionaries(
                st.text(max_size=3), st.integers() | st.booleans() | st.text(max_size=3), max_size=3
            ),
        }
    )
)
def test_json_round_trips(fields):
    car = Car(**fields)
    assert Car.build(json.loads(car.to_json())) == car
    assert Car.build(car.to_dict()) == car


@given(st.text(), st.text())
def test_any_text_as_a_setting_is_read_or_refused_and_nothing_else(path, value):
    with contextlib.suppress(ConfigError):
        assert isinstance(CAR.override({path: value}), Car)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


@given(anything, st.sampled_from(sorted(Car.model_fields)))
def test_any_json_value_as_a_setting_is_read_or_refused_and_nothing_else(value, name):
    with contextlib.suppress(ConfigError):
        assert isinstance(Car.build({"name": "a", name: value}), Car)
    with contextlib.suppress(ConfigError):
        assert isinstance(CAR.override({name: value}), Car)


def test_assignments_are_split_at_the_first_sign():
    assert parse_assignments(["a.b=1", " c = x=y ", "d="]) == {"a.b": "1", "c": "x=y", "d": ""}


def test_every_malformed_assignment_is_named():
    found = complaints_of(lambda: parse_assignments(["a", "=3", "b=1"]))
    assert len(found) == 2
    assert "'a'" in found[0]
    assert "'=3'" in found[1]


def test_a_config_may_stand_inside_a_mapping():
    inner = CAR.override({"sizes": "1,2", "notes": "x"})

    class Garage(Config):
        car: Car

    assert Garage.build({"car": inner}).car == inner


def configurations(cls: type[Config] = Config) -> Iterator[type[Config]]:
    """Every configuration of the package."""
    for each in cls.__subclasses__():
        if each.__module__.startswith("glassformer."):
            yield each
        yield from configurations(each)


def bounds(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[Any]:
    """The upper bounds of the integers in an annotation; None where one has none."""
    if get_origin(annotation) is Annotated:
        yield from bounds(annotation.__origin__, annotation.__metadata__)
    elif annotation is int:
        limits = [each for outer in metadata for each in (getattr(outer, "metadata", None) or [outer])]
        yield next((getattr(each, name) for each in limits for name in ("le", "lt") if hasattr(each, name)), None)
    else:
        for inner in get_args(annotation):
            yield from bounds(inner, metadata)


def test_every_integer_of_every_configuration_has_a_limit():
    import glassformer.generation
    import glassformer.studies.design  # noqa: F401

    found = list(configurations())
    assert len(found) > 15
    endless = [
        f"{config.__name__}.{name}"
        for config in found
        for name, field in config.model_fields.items()
        if None in bounds(field.annotation, field.metadata)
    ]
    assert endless == []


@pytest.mark.parametrize("toml", [False, True])
def test_nesting_without_end_is_a_value_error(toml):
    head = "a = " if toml else ""
    for depth in (DEEPEST + 2, 100_000):
        with pytest.raises(ValueError, match=f"nested more than {DEEPEST} levels"):
            parse(head + "[" * depth + "]" * depth, toml=toml)
    assert parse(head + "[" * 50 + "]" * 50, toml=toml)
    with pytest.raises(ConfigError, match="nested more than"):
        Car.build({"name": "a", "options": {"x": parse("[" * 99 + "]" * 99)}})


def test_a_near_miss_is_sought_among_the_beginnings_of_long_names():
    assert nearest("x" * 10**6, ["x" * 10**6, "b"]).startswith("Did you mean 'xxx")
    assert nearest("?", [str(number) for number in range(60)]).endswith(" and 10 more.")


def test_a_message_repeats_a_long_value_in_part_and_lists_so_many_complaints():
    with pytest.raises(ConfigError, match=r"doors is '9{199} … \(5,000 characters\); expected"):
        Car.build({"name": "a", "doors": "9" * 5_000})
    with pytest.raises(ConfigError, match=r"for 9999 reasons:(?s:.)*and 9,949 more\.$") as caught:
        parse_assignments(["x"] * 9_999)
    assert len(str(caught.value).splitlines()) == 52


@pytest.mark.parametrize("text", ["nan", "NaN", "Infinity", "-Infinity", "1e999"])
def test_a_free_form_option_that_is_not_finite_is_refused_by_name(text):
    from glassformer.models.presets import preset

    with pytest.raises(ConfigError, match=r"options\.power is .*; expected a finite number"):
        preset("gpt-nano").model.override({"norm.options.power": text})


class Leaf(Config):
    depth: int = 2
    options: dict[str, Any] = {"rate": 0.5}


class Tree(Config):
    leaf: Leaf = Leaf()
    name: str = "oak"


def test_settings_are_flattened_to_their_dotted_names_and_looked_up_by_them():
    tree = Tree()
    settings = flat(tree.to_dict())
    assert settings == {"leaf.depth": 2, "leaf.options.rate": 0.5, "name": "oak"}
    for path, value in settings.items():
        assert value_at(tree, path) == value_at(tree.to_dict(), path) == value
    assert value_at(tree, "leaf") is tree.leaf
    for path in ("root", "leaf.root", "name.upper", "leaf.options.root"):
        assert value_at(tree, path) is value_at(tree.to_dict(), path) is None
