"""What every panel's shell does alike: say something in the status line, and move a control without hearing it."""

from __future__ import annotations

from html import escape

import ipywidgets as W


class Shell:
    """A panel with a status line. `guarded` methods report their errors there; tests set `strict`, which raises them too."""

    strict = False
    status: W.HTML
    _listening = False  # until everything is built

    def say(self, message: str, *, error: bool = False) -> None:
        """The status line: announced by screen readers; an error says so in words, not by colour alone."""
        label = "<strong>Not shown:</strong> " if error else ""
        self.status.value = (
            f'<p role="status" aria-live="polite" dir="auto" style="margin:0">{label}{escape(message)}</p>'
        )

    def _quietly(self, control: W.Widget, **values) -> None:
        """Change a control from here, without taking it for a choice of the user."""
        heard, self._listening = self._listening, False
        try:
            for name, value in values.items():  # options before value, or the old value is checked against them
                setattr(control, name, value)
        finally:
            self._listening = heard
