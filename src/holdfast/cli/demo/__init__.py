"""The demo: a task board, a dependency that fails, and three ways to cope, side by side.

`schedule` says what breaks when, `figures` what was measured, `targets` what Holdfast must reach:
they are pure. `processes` and `site` run the task boards, `traffic` is their users, `run` directs,
`screen` and `report` show.
"""
