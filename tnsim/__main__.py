"""``python -m tnsim`` is the command ``tnsim``."""

from tnsim.cli import app

app(prog_name="tnsim")
