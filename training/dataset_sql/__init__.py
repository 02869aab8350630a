"""The training set as one relational expression over the lake (Ibis): run by DuckDB here, compiled for Athena there.

Feature log (`verdicts/`) + archived clicks + purchases -> labelled, weighted rows, features just as serving saw them.
`tables` says what is read, `attribution` and `accounts` make labels, `rows` puts a row together, `duckdb_run` runs it
in bounded memory, `text` writes it as SQL. The meanings are those of training/labels.py, which stays the oracle.
"""
