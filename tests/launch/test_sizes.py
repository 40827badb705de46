import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpctld.errors import UserError
from mcpctld.launch import sizes
from mcpctld.launch.sizes import Guest


@pytest.mark.parametrize(
    ("text", "megabytes"),
    [("512", 512), ("512mb", 512), ("512M", 512), ("1gb", 1024), ("1 GiB", 1024), ("1.5g", 1536), (" 2GB ", 2048)],
)  # fmt: skip
def test_memory_is_read_as_people_write_it(text, megabytes):
    assert sizes.memory_mb(text) == megabytes


@pytest.mark.parametrize("text", ["", "lots", "1tb", "-1", "1e3", "mb", "1.0001gb", "0.3"])
def test_what_is_no_memory_is_refused(text):
    with pytest.raises(UserError, match="memory"):
        sizes.memory_mb(text)


@pytest.mark.parametrize(
    ("flags", "guest"),
    [
        ({}, Guest()),
        ({"memory": "512"}, Guest(memory_mb=512)),
        ({"size": "shared-cpu-1x"}, Guest(memory_mb=256)),
        ({"size": "shared-cpu-2x", "memory": "1gb"}, Guest(cpus=2)),
        ({"size": "performance-2x"}, Guest(cpu_kind="performance", cpus=2, memory_mb=4096)),
        ({"cpus": 4}, Guest(cpus=4)),
        ({"kind": "performance"}, Guest(cpu_kind="performance", memory_mb=2048)),
        ({"host": "h1"}, Guest(host_dedication_id="h1")),
    ],
)
def test_flags_make_a_machine(flags, guest):
    assert sizes.guest(**flags) == guest


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"size": "huge"}, "no size 'huge': .*shared-cpu-1x"),
        ({"size": "a100-40gb"}, "no longer offers GPUs"),
        ({"kind": "gpu"}, "no kind of CPU 'gpu'"),
        ({"cpus": 3}, "cannot have 3 CPUs"),
        ({"memory": "300"}, "256 to 2048, in steps of 256"),
        ({"memory": "4gb"}, "cannot have 4096 MB"),
        ({"cpus": 2, "memory": "256"}, "2 shared CPUs cannot"),
        ({"size": "performance-1x", "memory": "2560"}, "in steps of 1024"),
    ],
)
def test_what_fly_does_not_make_is_refused(flags, reason):
    with pytest.raises(UserError, match=reason):
        sizes.guest(**flags)


def test_the_configuration_has_only_what_is_said():
    assert Guest().as_config() == {"cpu_kind": "shared", "cpus": 1, "memory_mb": 1024}
    assert Guest(host_dedication_id="h").as_config()["host_dedication_id"] == "h"


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(list(sizes.PRESETS)), st.integers(0, 2**17))
def test_every_machine_is_within_what_fly_makes(size, megabytes):
    kind, cpus = sizes.PRESETS[size]
    least, most = (256, 2048) if kind == "shared" else (2048, 8192)
    try:
        guest = sizes.guest(size, memory=str(megabytes))
    except UserError:
        step = 256 if kind == "shared" else 1024
        assert megabytes % step or not least * cpus <= megabytes <= most * cpus
        return
    assert (guest.cpu_kind, guest.cpus, guest.memory_mb) == (kind, cpus, megabytes)
    assert least * cpus <= megabytes <= most * cpus
