"""Panels: controls, one pure `compute(state) -> record`, one `render(record)`."""
