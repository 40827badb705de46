import pytest

from mcpctl import wire
from mcpctld.errors import UserError
from mcpctld.launch import boot, command
from mcpctld.launch.command import program
from mcpctld.launch.wish import Wish

FRONT = ["uvx", "--from", f"mcpctl=={wire.VERSION}", "mcpctl", "wrap", "--"]
TIME = ["uvx", "mcp-server-time"]
SETUP = ["/bin/sh", "-c", 'set -e\necho hi\nexec "$@"', "sh"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("uvx mcp-server-time", TIME),
        ("sh -c 'a && b \"$C\"'", ["sh", "-c", 'a && b "$C"']),
        (r"x \$Y a\ b", ["x", "$Y", "a b"]),
        (None, []),
    ],
)
def test_a_command_is_split_once(text, words):
    assert command.split(text) == words


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("uvx 'x", "no closing quotation"),
        ("x \\", "no escaped character"),
        ("docker run -i x", "no docker: give the image"),
        ("/usr/bin/podman run x", "no podman"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(text, reason):
    with pytest.raises(UserError, match=reason):
        command.split(text)


def test_the_run_of_a_dockerfile_is_taken_off():
    assert command.setup_lines(["RUN apt-get update", "  RUN  a ", "running b", " "]) == [
        "apt-get update", "a", "running b",
    ]  # fmt: skip


@pytest.mark.parametrize("line", ["COPY a b", "ENV A=b", "FROM x", "RUN USER me"])
def test_other_lines_of_a_dockerfile_are_refused(line):
    with pytest.raises(UserError, match="--setup runs shell commands"):
        command.setup_lines([line])


@pytest.mark.parametrize("image", ["flyio/mcp", "flyio/mcp:latest", "docker.io/flyio/mcp@sha256:0"])
def test_the_image_of_fly_is_known_by_its_name(image):
    assert command.is_fly_image(image)


@pytest.mark.parametrize("image", ["flyio/mcp2", "me/flyio/mcp", "flyio/flyctl"])
def test_other_images_are_not(image):
    assert not command.is_fly_image(image)


@pytest.mark.parametrize(
    ("fields", "words", "image", "wrapper", "entrypoint"),
    [
        ({}, TIME, "flyio/mcp", "mcpctl", FRONT),
        ({"image": "flyio/mcp:2"}, TIME, "flyio/mcp:2", "mcpctl", FRONT),
        ({"setup": ["RUN echo hi"]}, TIME, "flyio/mcp", "mcpctl", [*SETUP, *FRONT]),
        ({"wrapper": "fly"}, TIME, "flyio/mcp", "fly", []),
        ({"wrapper": "fly", "setup": ["echo hi"]}, TIME, "flyio/mcp", "fly",
         [*SETUP, "/usr/bin/flyctl", "mcp", "wrap", "--"]),
        ({"transport": "http", "port": 1, "image": "a/b"}, TIME, "a/b", "none", []),
        ({"transport": "http", "port": 1, "image": "a/b", "setup": ["echo hi"]}, TIME, "a/b", "none", SETUP),
    ],
)  # fmt: skip
def test_what_the_image_is_given_to_run(fields, words, image, wrapper, entrypoint):
    made = program(Wish(**fields), words)
    assert (made.image, made.wrapper, made.entrypoint, made.cmd) == (
        image,
        wrapper,
        entrypoint,
        words,
    )
    assert made.boots_slowly == ("setup" in fields)


def test_a_command_that_speaks_http_takes_the_place_of_the_wrapper_in_flys_image():
    made = program(Wish(transport="sse", port=1), ["npx", "x"])
    assert (made.image, made.entrypoint, made.cmd) == ("flyio/mcp", ["npx", "x"], [])


def test_go_runs_in_an_image_that_has_go_and_the_front_is_put_beside_it():
    made = program(Wish(), ["go", "run", "example.com/x@latest"])
    assert made.image == "golang"
    assert made.entrypoint[:2] == ["/bin/sh", "-c"]
    assert made.entrypoint[3:] == ["sh", "mcpctl", "wrap", "--"]
    assert boot.install(wire.VERSION) in made.entrypoint[2]
    assert made.cmd == ["go", "run", "example.com/x@latest"]
    assert made.files == []
    assert made.boots_slowly


def test_a_stdio_image_runs_what_it_would_run_by_itself():
    made = program(Wish(image="acme/x", setup=["echo hi"]), ["--flag"])
    assert made.cmd == [*boot.image_command(), "--flag"]
    assert made.files == [boot.image_config_file("acme/x")]
    assert "\necho hi\nif !" in made.entrypoint[2]
    assert "acme/x gets our front at each cold start" in made.notes[0]


@pytest.mark.parametrize(
    ("fields", "words", "reason"),
    [
        ({}, [], "say what to launch"),
        ({"image": "flyio/mcp"}, [], "say what to launch"),
        ({"transport": "http"}, ["x"], "--port N"),
        (
            {"transport": "http", "port": 1, "image": "a/b", "setup": ["x"]},
            [],
            "give the whole command",
        ),
        ({"wrapper": "fly"}, ["go", "run", "x"], "image golang has no flyctl.*--eject"),
        ({"wrapper": "fly", "image": "a/b"}, [], "image a/b has no flyctl.*--eject"),
    ],
)
def test_what_is_needed_is_said(fields, words, reason):
    with pytest.raises(UserError, match=reason):
        program(Wish(**fields), words)


@pytest.mark.parametrize(
    ("fields", "words", "image", "entrypoint"),
    [
        ({}, TIME, "flyio/mcp", FRONT),
        ({}, ["go", "run", "x"], "golang", FRONT),
        (
            {"wrapper": "fly", "image": "a/b"},
            ["x"],
            "a/b",
            ["/usr/bin/flyctl", "mcp", "wrap", "--"],
        ),
        ({"transport": "http", "port": 1, "image": "a/b"}, [], "a/b", []),
    ],
)
def test_with_a_builder_the_front_is_in_the_image(fields, words, image, entrypoint):
    made = program(Wish(**fields), words, builder=True)
    assert (made.image, made.entrypoint, made.cmd, made.notes) == (image, entrypoint, words, [])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"image": "a/b"}, "docker inspect"), ({"image": "a/b", "transport": "http"}, "--port N")],
)
def test_a_builder_has_to_be_told_too(fields, reason):
    with pytest.raises(UserError, match=reason):
        program(Wish(**fields), [], builder=True)


@pytest.mark.parametrize("word", ["$HOME", "${X}", "$(date)", "&&", "|", ">", "~/x"])
def test_words_that_want_a_shell_are_pointed_out(word):
    assert "no shell reads the command" in program(Wish(), ["uvx", "x", word]).notes[0]
    assert program(Wish(), ["sh", "-c", word]).notes == []


@pytest.mark.parametrize("word", ["$", "a|b", "-->", "x~/y", "{}"])
def test_others_are_not(word):
    assert program(Wish(), ["uvx", "x", word]).notes == []
