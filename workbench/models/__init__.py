"""Every dual encoder behind one interface."""
