"""docs/config.md tells of every field and variable, with the default that the code has."""

import re
from pathlib import Path

import msgspec
import pytest

from mcpctld.config.load import load_folder
from mcpctld.model import FlySpec, ServerSpec, Settings, TunnelSpec

TEXT = (Path(__file__).parents[2] / "docs" / "config.md").read_text()
ROWS = {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)` \|.*$", TEXT, flags=re.MULTILINE)}


@pytest.mark.parametrize(
    "field",
    [
        field
        for struct in (ServerSpec, FlySpec, Settings, TunnelSpec)
        for field in msgspec.structs.fields(struct)
    ],
)
def test_every_field_is_documented_with_its_default(field):
    row = ROWS[field.name]
    if isinstance(field.default, bool):
        assert f"`{str(field.default).lower()}`" in row
    elif isinstance(field.default, str):
        assert f'`"{field.default}"`' in row
    elif isinstance(field.default, int | float):
        assert f"`{field.default}`" in row


@pytest.mark.parametrize(
    "variable",
    ["MCPCTL_CONFIG_DIR", "MCPCTL_STATE_DIR", "MCPCTL_RUNTIME_DIR", "MCPCTL_SECRETS"],
)
def test_every_variable_is_documented(variable):
    assert variable in ROWS


def test_the_examples_can_be_used(tmp_path):
    (tmp_path / "servers").mkdir(mode=0o700)
    examples = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)
    for number, example in enumerate(examples):
        path = tmp_path / "servers" / f"example{number}.toml"
        path.write_text(example)
        path.chmod(0o600)
    loaded = load_folder(str(tmp_path))
    assert loaded.errors == []
    assert len(loaded.servers) == 3
