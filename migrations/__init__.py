"""The database schema's revisions, which `octollm migrate` applies in order, in one transaction.

A revision is `versions/NNNN_topic.py`; its statements are usually in `sql/NNNN_topic.sql`. Each number is one revision,
and the numbers have no holes. In `sql/` 0003 is missing because revision 0003 is a single statement in its Python file,
and 0007 occurs twice because revision 0007 runs both files. The statements of a released revision never change: a
change of the schema is a new revision with the next number.
"""
