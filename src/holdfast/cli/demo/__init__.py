"""The demo: a task board, something it needs that fails, and three ways to cope, side by side.

It has floors, each a story of its own: `calls`, in which a service fails, and `cache`, in which a
Valkey does. `floor` says what makes one, `floors` which there are. Pure are `schedule`, which says
what happens when, `figures` and `cache_figures`, what was measured, and `targets`, what Holdfast
must reach. `processes` and `site` run the task boards, `traffic` is their users, `run` directs,
`screen` and `report` show.
"""
