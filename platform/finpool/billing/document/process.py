"""The renderer of invoices, a process of its own: `python -m finpool.billing.document.process` reads standard input.

A PDF takes a second of CPU time and libraries of a hundred megabytes; inside a serving process it would delay every
tenant's requests.
"""

import asyncio
import json
import os
import sys

from finpool.billing.document.schemas import DocumentFormat, FocusFormat, MissingGlyph, Rendering
from finpool.kernel.database.database import require_no_transaction

RENDER_SECONDS_MAX = 60.0
EXIT_MISSING_GLYPH = 3
"""The exit code of a renderer that found a character without a glyph; it names that on standard output."""

KEPT_OF_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG")
"""The environment of a renderer, without addresses and passwords of databases."""


async def render(rendering: Rendering) -> bytes:
    """Return the file; a door's seats bound the number of renderers.

    Raises `MissingGlyph`, `TimeoutError` or `RuntimeError`, this also while the caller holds a connection.
    """
    require_no_transaction("rendering")
    async with asyncio.timeout(RENDER_SECONDS_MAX):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "finpool.billing.document.process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in KEPT_OF_ENVIRONMENT if name in os.environ},
        )
        try:
            content, _ = await process.communicate(rendering.model_dump_json().encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode == EXIT_MISSING_GLYPH:
        raise MissingGlyph(**json.loads(content))
    if process.returncode != 0:
        raise RuntimeError(f"rendering ended with {process.returncode}")
    return content


def rendered(rendering: Rendering) -> bytes:
    """Return the file, rendered in this process; each format imports only its own libraries."""
    if rendering.focus:
        from finpool.billing.focus.rows import focus_rows

        rows = (
            row
            for each in rendering.invoices
            for row in focus_rows(each, rendering.project_names, rendering.list_picos)
        )
        if rendering.format == FocusFormat.PARQUET:
            from finpool.billing.focus.parquet import focus_parquet

            return focus_parquet(rows)
        from finpool.billing.focus.csv import focus_csv

        return focus_csv(rows)
    (invoice,) = rendering.invoices
    if rendering.format == DocumentFormat.PDF:
        from finpool.billing.document.pdf import invoice_pdf

        return invoice_pdf(invoice)
    from finpool.billing.document.csv import invoice_csv

    return invoice_csv(invoice)


if __name__ == "__main__":
    try:
        sys.stdout.buffer.write(rendered(Rendering.model_validate_json(sys.stdin.buffer.read())))
    except MissingGlyph as missing:
        sys.stdout.write(json.dumps({"character": missing.character, "field": missing.field}))
        sys.exit(EXIT_MISSING_GLYPH)
