"""Malformed inputs by the thousand: what a reader accepts, refuses, or falls over.

`pytest tests/fuzz` reads 300; `python -m tests.fuzz --count 10000 --seed 3 --failures DIR` prints
the counts, keeps each input that failed, and `--replay DIR/FILE` reads one again.

`kinds` is the table: how a small valid folder is made (`valid`), which of its files are changed and
how (`changes`), what reads them (`readers`), and when an accepted answer is silently wrong
(`judges`). `runner` reads each input in a child process with limits. An input follows from its
kind, a seed and a number alone.
"""
