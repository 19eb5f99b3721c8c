"""The widget panel: everything that a cell can do, by clicking, and the cell that does the same."""

# Under this name IPython's place for extensions, `shell.meta`, holds the panel that is alive.
PANEL = "vn_magic_panel"
