"""Refusals of what shows at once, each in a child of this process, and what it has imported.

Prints a line for each command of standard input: exit code, the heavy libraries, the last line of
its errors, separated by tabs.
"""

import importlib
import os
import shlex
import sys
import tempfile

LIGHT = ("numpy", "PIL.Image", "pydantic", "rich.console", "typer", "yaml")
HEAVY = ("torch", "diffusers", "transformers", "accelerate", "peft")


def main() -> None:
    """Run every command in a child."""
    for name in LIGHT:  # each child is spared the time
        importlib.import_module(name)
    for line in sys.stdin:
        with tempfile.TemporaryFile() as errors:
            read, write = os.pipe()
            child = os.fork()
            if not child:
                os.dup2(errors.fileno(), 2)
                _run(shlex.split(line), write)
            os.close(write)
            os.waitpid(child, 0)
            with os.fdopen(read) as pipe:
                found = pipe.read()
            errors.seek(0)
            told = errors.read().decode().strip().splitlines()
        print(f"{found}\t{told[-1] if told else ''}", flush=True)


def _run(arguments: list[str], pipe: int) -> None:
    from diffusion4k.cli.main import main as command

    sys.argv = ["diffusion4k", *arguments]
    code: object = 0
    try:
        command()
    except SystemExit as left:
        code = left.code
    heavy = [name for name in HEAVY if name in sys.modules]
    os.write(pipe, f"{code}\t{','.join(heavy)}".encode())
    os._exit(0)


if __name__ == "__main__":
    main()
