"""Where `mcpctl` begins: `attach` and `proxy` take the fast path, `wrap` is another program, the rest the command line.

A client waits for `mcpctl attach` at every start: nothing is imported before the first word is
known.
"""

import sys

FAST = ("attach", "proxy")
"""The commands that `mcpctl.attach` runs itself."""

WRAP = "wrap"
"""Runs in the place of a server's command, and shares nothing with the client but its name."""


def main() -> int:
    """Run the command of `sys.argv`; answer the exit code.

    Both get the arguments without the program's name, the command's own name first.
    """
    argv = sys.argv[1:]
    if argv and argv[0] in FAST:
        from mcpctl.attach import main as attach

        return attach(argv)
    if argv and argv[0] == WRAP:
        from mcpctl.wrap import main as wrap

        wrap(argv)
    from mcpctl.cli import main as cli

    return cli(argv)


if __name__ == "__main__":
    sys.exit(main())
