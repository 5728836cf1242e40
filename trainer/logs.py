"""Where our programs log: standard error, for standard output is for results."""

import logging


def to_standard_error(level: int) -> None:
    """Log there from `level` on, and what DeepSpeed would print on standard output too.

    Called before DeepSpeed is imported, which transformers does when it is installed.
    """
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("DeepSpeed").addFilter(_to_the_root)


def _to_the_root(record: logging.LogRecord) -> bool:
    logging.getLogger().handle(record)
    return False
