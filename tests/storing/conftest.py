import pytest


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A home and a state folder of the test's own."""
    for name in ("home", "state"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MCPCTL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "home"
