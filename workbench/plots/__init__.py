"""Records become plain specs (dicts of arrays and strings), specs become plotly figures. Tests read the spec."""
