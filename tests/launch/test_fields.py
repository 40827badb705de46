import json
from pathlib import Path

import pytest

from mcpctld.launch import fields

SPEC = Path(__file__).parent.parent / "fixtures" / "fly" / "machines-openapi.json"


@pytest.mark.parametrize(
    ("schema", "known"),
    [("fly.MachineConfig", fields.MACHINE), ("fly.MachineService", fields.SERVICE)],
)
def test_the_fields_are_those_of_flys_own_document(schema, known):
    assert set(json.loads(SPEC.read_text())["components"]["schemas"][schema]["properties"]) == known


@pytest.mark.parametrize(
    ("config", "texts"),
    [
        ({}, []),
        ({"image": "x", "services": [{"autostop": "off"}]}, []),
        ({"services": None}, []),
        ({"services": ["x"]}, []),
        ({"colour": 1}, ["a Machine's configuration has no field colour"]),
        ({"vm": 1}, ["a Machine's configuration has no field vm: it is called guest there"]),
        (
            {"services": [{}, {"auto_stop_machines": "off"}]},
            [
                "a Machine's configuration has no field services[1].auto_stop_machines: it is called autostop there"
            ],
        ),
    ],
)
def test_what_fly_would_drop_is_named(config, texts):
    assert fields.unknown(config) == texts
