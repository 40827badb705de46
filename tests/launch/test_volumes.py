import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.errors import UserError
from mcpctld.launch import volumes
from mcpctld.launch.sizes import Guest
from mcpctld.launch.volumes import Volume

WHOLE = (
    "data:/data:initial_size=2GB,snapshot_retention=7,scheduled_snapshots=false,"
    "auto_extend_size_threshold=80,auto_extend_size_increment=1GB,auto_extend_size_limit=10"
)


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("data:/data", Volume(name="data", path="/data")),
        ("data:/data/", Volume(name="data", path="/data")),
        ("data:/data:initial_size=1GB", Volume(name="data", path="/data")),
        ("d_1:/srv/x:initial_size=3", Volume(name="d_1", path="/srv/x", size_gb=3)),
        ("d:/d:scheduled_snapshots=True", Volume(name="d", path="/d", auto_backup_enabled=True)),
        (
            WHOLE,
            Volume(
                name="data",
                path="/data",
                size_gb=2,
                snapshot_retention=7,
                auto_backup_enabled=False,
                extend_threshold_percent=80,
                add_size_gb=1,
                size_gb_limit=10,
            ),
        ),
    ],
)
def test_every_option_of_a_volume_is_kept(text, volume):
    assert volumes.parse(text) == volume


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "name of a volume"),
        ("Data:/data", "name of a volume"),
        ("data", "needs a folder"),
        ("data:data", "needs a folder"),
        ("data:/", "needs a folder"),
        ("data:/x/..", "needs a folder"),
        ("data:/data:size=1", "known are initial_size"),
        ("data:/data:initial_size", "cannot read option"),
        ("data:/data:initial_size=1,initial_size=2", "given twice"),
        ("data:/data:initial_size=0", "1GB to 500GB"),
        ("data:/data:initial_size=501GB", "1GB to 500GB"),
        ("data:/data:initial_size=big", "1GB to 500GB"),
        ("data:/data:snapshot_retention=0", "1 to 60 days"),
        ("data:/data:snapshot_retention=x", "1 to 60 days"),
        ("data:/data:scheduled_snapshots=maybe", "true or false"),
        ("data:/data:auto_extend_size_threshold=80", "auto_extend_size_increment is missing"),
        (WHOLE.replace("threshold=80", "threshold=49"), "50 to 99"),
        (WHOLE.replace("threshold=80", "threshold=100"), "50 to 99"),
        (WHOLE.replace("increment=1GB", "increment=101"), "1GB to 100GB"),
        (WHOLE.replace("limit=10", "limit=1"), "cannot grow to 1 GB"),
        (WHOLE.replace("limit=10", "limit=501"), "1GB to 500GB"),
    ],
)
def test_a_volume_that_fly_would_not_make_is_refused(text, reason):
    with pytest.raises(UserError, match=reason):
        volumes.parse(text)


def test_the_options_go_where_fly_wants_them():
    volume = volumes.parse(WHOLE)
    assert volume.create_body("iad", Guest()) == {
        "name": "data",
        "region": "iad",
        "size_gb": 2,
        "encrypted": True,
        "compute": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 1024},
        "snapshot_retention": 7,
        "auto_backup_enabled": False,
    }
    assert volume.mount("vol_1") == {
        "volume": "vol_1",
        "name": "data",
        "path": "/data",
        "extend_threshold_percent": 80,
        "add_size_gb": 1,
        "size_gb_limit": 10,
    }
    assert volumes.parse("d:/d").mount("v") == {"volume": "v", "name": "d", "path": "/d"}


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=60) | st.text("data:/=,GB019_", max_size=60))
def test_any_text_is_a_volume_or_refused(text):
    try:
        volume = volumes.parse(text)
    except UserError:
        return
    assert volume.path.startswith("/")
    assert 1 <= volume.size_gb <= 500
