"""What is wrong with settings: one clear line each, with its place, what was expected, what was found and what may have been meant."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from tunny.core.errors import ConfigError
from tunny.core.explain import describe, nearest
from tunny.core.settings import Layer, Settings, resolve


class Net(Settings):
    kind: Literal["drift", "seine"] = Field(description="how it fishes")
    mesh: int = Field(4, ge=1, description="millimetres")


class Line(Settings):
    kind: Literal["hand", "long"] = Field(description="how it fishes")
    hooks: int | list[int] | None = Field(None, description="how many")


class Hold(Settings):
    tons: int = Field(5, description="what it carries")
    iced: bool = Field(True, description="cold")
    full: int = Field(3, description="what it holds")

    @model_validator(mode="after")
    def _fits(self) -> "Hold":
        if self.full > self.tons:
            raise ValueError(f"full must be at most tons ({self.tons})")
        return self


class Ship(Settings):
    gear: Annotated[Net | Line, Field(discriminator="kind")]
    hold: Hold = Hold()
    ports: str | list[str] | dict[str, str] | None = Field(None, description="where to")
    flags: dict[str, float] | Literal["all"] | None = Field(None, description="which")


def problems(values, places=None, gear="seine"):
    values = {"gear.kind": gear, **values}
    with pytest.raises(ConfigError) as caught:
        resolve(Ship, [Layer(values, {**{key: f"ship.yaml:{line}" for line, key in enumerate(values)}, **(places or {})})], {}, {})
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"hold.tons": "many"}, "ship.yaml:1: hold.tons: expected integer, found 'many'"),
        ({"hold.tons": 2.5}, "ship.yaml:1: hold.tons: expected integer, found 2.5"),
        ({"hold.tons": None}, "ship.yaml:1: hold.tons: expected integer, found null"),
        ({"hold.tons": [4]}, "ship.yaml:1: hold.tons: expected integer, found [4]"),
        ({"hold.iced": "perhaps"}, "ship.yaml:1: hold.iced: expected true | false, found 'perhaps'"),
        ({"gear.mesh": 0}, "ship.yaml:1: gear.mesh: must be greater than or equal to 1, found 0"),
        ({"ports": True}, "ship.yaml:1: ports: expected text | list of text | mapping of text to text | null, found true"),
        ({"ports": ["Bergen", True]}, 'ship.yaml:1: ports: expected text | list of text | mapping of text to text | null, found ["Bergen", true]'),
        ({"flags": {"a": "b"}}, 'ship.yaml:1: flags: expected mapping of text to number | all | null, found {"a": "b"}'),
        ({"hold": 5}, "ship.yaml:1: hold: expected settings as {tons: ...}, found 5"),
        ({"hold": "deep"}, "ship.yaml:1: hold: expected settings as {tons: ...}, found 'deep'"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_gives_one_line(values, line):
    assert problems(values) == [line]


def test_a_union_inside_a_tagged_section_gives_one_line():
    assert problems({"gear.hooks": "x"}, gear="long") == ["ship.yaml:1: gear.hooks: expected integer | list of integer | null, found 'x'"]


def test_an_unknown_tag_says_what_there_is_and_what_may_be_meant():
    assert problems({}, gear="sein") == [
        "ship.yaml:0: gear.kind: expected drift | seine | hand | long, found 'sein'; did you mean 'seine'?"
    ]


def test_a_tagged_section_without_its_tag_says_what_is_required():
    with pytest.raises(ConfigError, match=r"^settings: 'gear\.kind' is required; give --gear\.kind or set it in the config$"):
        resolve(Ship, [Layer({"gear.mesh": 3}, {"gear.mesh": "x"})], {}, {})


def test_a_missing_section_says_what_is_required():
    with pytest.raises(ConfigError, match=r"^settings: 'gear' is required"):
        resolve(Ship, [], {}, {})


@pytest.mark.parametrize(
    ("key", "end"),
    [
        ("hold.ton", "; did you mean 'hold.tons'?"),
        ("hodl.tons", "; did you mean 'hold.tons'?"),
        ("tons", "; did you mean 'hold.tons'?"),
        ("gear.tons", "; did you mean 'hold.tons'?"),
        ("hold.zzz", "; there are hold.tons, hold.iced, hold.full"),
        ("zzz", "; there are gear, hold, ports, flags"),
        ("hodl", "; did you mean 'hold'?"),
    ],
)
def test_an_unknown_setting_says_what_may_be_meant_or_what_there_is(key, end):
    assert problems({key: 1}) == [f"ship.yaml:1: unknown setting '{key}'{end}"]


def test_a_setting_of_another_kind_is_named_so():
    assert problems({"gear.hooks": 3}) == ["ship.yaml:1: 'gear.hooks' is no setting of gear seine"]


def test_a_rule_between_settings_names_the_places_of_those_that_were_set():
    assert problems({"hold.full": 9}, {"hold": "ship.yaml:7"}) == ["ship.yaml:1: hold: full must be at most tons (5)"]


def test_all_problems_come_at_once():
    assert len(problems({"hold.tons": "x", "hold.iced": 7, "prots": 1, "gear.mesh": -1, "flags": [1]})) == 5


def test_the_description_has_every_setting_once_with_all_its_types():
    rows = {name: (kind, default, meaning) for name, kind, default, meaning in describe(Ship)}
    assert list(rows) == ["gear.kind", "gear.mesh", "gear.hooks", "hold.tons", "hold.iced", "hold.full", "ports", "flags"]
    assert rows["gear.kind"] == ("drift | seine | hand | long", "required", "how it fishes")
    assert rows["hold.iced"] == ("true | false", "true", "cold")


def test_a_name_far_from_all_others_has_no_suggestion():
    assert nearest("qqqq", Ship) == ""
