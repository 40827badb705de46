"""What a machine does before its server: shell scripts, for images that nobody builds.

A script is run as `/bin/sh -c SCRIPT sh WORDS...`, and becomes WORDS at its end.
"""

from collections.abc import Sequence

from mcpctld.launch.files import File

PLACE = "/opt/mcpctl"
"""A virtual environment of ours in an image that knows nothing of it."""

IMAGE_CONFIG = "/.mcpctl/image.json"
"""Where Fly writes the configuration of an image (OCI image-spec, config.md): its entrypoint and command."""

_INSTALL = """\
if ! [ -x {place}/bin/mcpctl ]; then
  if command -v uv >/dev/null; then
    uv venv --quiet {place}
    uv pip install --quiet --python {place}/bin/python mcpctl=={version}
  else
    if ! python3 -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      if command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv
      elif command -v apk >/dev/null; then
        apk add --quiet python3
      else
        echo 'mcpctl: this image has neither Python 3.11 nor apt-get nor apk to install it with' >&2
        exit 78
      fi
    fi
    python3 -m venv {place}
    {place}/bin/pip install --quiet --disable-pip-version-check mcpctl=={version}
  fi
fi
PATH=$PATH:{place}/bin
export PATH"""

_RUN_IMAGE = """\
import json, os, sys
with open(sys.argv[1]) as file:
    image = json.load(file)
image = image.get("config") or image
words = (image.get("Entrypoint") or []) + (sys.argv[2:] or image.get("Cmd") or [])
if not words:
    sys.exit("mcpctl: the image starts nothing by itself; give a command")
os.execvp(words[0], words)"""


def script(steps: Sequence[str], *more: str) -> str:
    """Run the steps, one after the other, and stop at the first that fails; then become the words."""
    return "\n".join(["set -e", *steps, *more, 'exec "$@"'])


def install(version: str, place: str = PLACE) -> str:
    """A step that puts our front into `place`, once for each root file system, and that on the PATH."""
    return _INSTALL.format(version=version, place=place)


def image_command(python: str = f"{PLACE}/bin/python", config: str = IMAGE_CONFIG) -> list[str]:
    """Words that, with those behind them, run what the image would: its entrypoint, then these or its command."""
    return [python, "-c", _RUN_IMAGE, config]


def image_config_file(image: str) -> File:
    """The entry of `config.files` by which the machine learns what its image starts."""
    return {"guest_path": IMAGE_CONFIG, "image_config": image}
