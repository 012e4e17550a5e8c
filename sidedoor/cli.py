"""The console script `sidedoor`: the root command (`sidedoor.root`), and what the process ends with.

Exit codes, everywhere: 0 what was asked for held; 1 it did not hold or failed; 2 the call was wrong (usage, settings,
a missing tool or permission, a busy port), with one line on stderr that says what and what to do; 130 after Ctrl-C.
"""

from __future__ import annotations

import sys

from sidedoor.interrupts import QuietInterrupts


def main(arguments: list[str] | tuple[str, ...] | None = None) -> None:
    """Never returns: exits with 0, 1 or 2 (130 after Ctrl-C)."""
    with QuietInterrupts():  # So nothing that takes time is imported above.
        import click

        from sidedoor.root import root
        from sidedoor.settings import UsageError

    try:
        # Not click's standalone mode, which ends Ctrl-C with 1 and knows no UsageError.
        status = root.main(
            args=None if arguments is None else list(arguments), prog_name="sidedoor", standalone_mode=False
        )
    except UsageError as error:
        click.echo(f"sidedoor: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)
